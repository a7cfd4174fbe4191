"""Which tools a prompt asks for in so many words."""

from __future__ import annotations

import pytest

from routing.analyzer.named_tools import tools_named

NAMED: dict[str, tuple[str, ...]] = {
    "What is 2**127 - 1? Use Python.": ("execute_python",),
    "Berechne mit Python die Summe der Primzahlen unter 1000": ("execute_python",),
    "Calcula con Python la media de 3, 5 y 9": ("execute_python",),
    "用Python计算2的100次方": ("execute_python",),
    "Plot a sine wave with Python": ("execute_python",),
    "Run this code and tell me what it prints: print(3)": ("execute_python",),
    "Search the web for the newest release of uv": ("web_search",),
    "Busca en internet quién ganó ayer": ("web_search",),
    "上网搜一下今天的新闻": ("web_search",),
    "Summarise https://example.com/page for me": ("fetch_url",),
    "What did I tell you about my cat?": ("memory_search",),
    "Ты помнишь, как зовут мою собаку?": ("memory_search",),
    "Remember that I am allergic to nuts": ("memory_store",),
    "Save my address in your memory": ("memory_store",),
    "Google this for me: who won?": ("web_search",),
    "Cherche sur le web la météo de demain": ("web_search",),
    "Such im Netz nach dem Wetter": ("web_search",),
    "Pesquise na internet quem ganhou": ("web_search",),
    "Cerca in rete chi ha vinto": ("web_search",),
    "Busca en línea el precio": ("web_search",),
    "Recherche en ligne le prix": ("web_search",),
    "Найди в интернете курс рубля": ("web_search",),
    "Поищи в сети новости": ("web_search",),
    "ネットで検索して": ("web_search",),
    "ウェブで調べて": ("web_search",),
    "इंटरनेट पर खोजो": ("web_search",),
    "ابحث في الإنترنت عن الخبر": ("web_search",),
    "在网络上查一下": ("web_search",),
    "Use the code interpreter for it": ("execute_python",),
    "Try it in the Python sandbox": ("execute_python",),
    "Посчитай, используй питон: 3**7": ("execute_python",),
    "パイソンを使って計算して": ("execute_python",),
    "पायथन का उपयोग करके गणना करो": ("execute_python",),
    "احسب استخدم بايثون": ("execute_python",),
    "Do you remember my name?": ("memory_search",),
    "¿Te acuerdas de mi perro?": ("memory_search",),
    "Tu te souviens de moi ?": ("memory_search",),
    "Erinnerst du dich an mich?": ("memory_search",),
    "Você se lembra de mim?": ("memory_search",),
    "Ti ricordi di me?": ("memory_search",),
    "你还记得我吗": ("memory_search",),
    "覚えていますか": ("memory_search",),
    "क्या तुम्हें मेरा नाम याद है": ("memory_search",),
    "هل تتذكر اسمي": ("memory_search",),
    "What have we decided about it?": ("memory_search",),
    "Keep in mind that I am vegan": ("memory_store",),
    "Note that my name is Ana": ("memory_store",),
    "https://example.com/a is the page": ("fetch_url",),
    "Write a Python script that counts words with Python 3": (),
    "How many arguments does range take in Python?": (),
    "How do web search engines rank pages?": (),
    "What is the difference between lists and tuples in Python?": (),
    "Remember when phones had buttons? Write a poem about it": (),
    "Why does the elephant never forget?": (),
    "": (),
}


@pytest.mark.parametrize("prompt", NAMED)
def test_plain_requests_are_heard_and_talk_about_tools_is_not(prompt: str) -> None:
    assert tools_named(prompt) == NAMED[prompt]


def test_the_end_of_a_long_instruction_is_read_too() -> None:
    assert tools_named("word " * 5_000 + "Search the web for it.") == ("web_search",)
