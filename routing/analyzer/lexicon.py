"""Words and phrases, and what each says about a task: the table that the rules score by.

A cue's ``weights`` are log-odds: evidence of 0.7 doubles the odds of a category against the ones that it does not name.
Strong evidence is 2 to 3, a hint 0.5 to 1. ``trait``, ``pattern`` and ``role`` say something other than the category.

Entries are written folded (lower case, no accents on Latin letters), separated by commas, one string per language: English,
Spanish, French, German, Portuguese, Italian where the word differs, then Chinese, Japanese, Russian, Arabic, Hindi. ``ab*``
is any word that begins so; several words are a phrase. Scripts other than Latin, Greek and Cyrillic are found anywhere,
because not all of them part words with spaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from routing.types import Category, Pattern, Role

Trait = Literal[
    "constraint",  # a condition on the answer
    "easy",  # the caller calls it small
    "echo",  # the answer is as long as what was given
    "hard",  # expert knowledge
    "large",  # a large deliverable
    "live",  # needs what changes daily
    "math",
    "step",  # one of several steps
    "vision",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """What one group of words says. Where ``leads``, it counts in full only where it opens a sentence."""

    label: str
    entries: tuple[str, ...]
    weights: Mapping[Category, float]
    leads: bool = False
    trait: Trait | None = None
    pattern: Pattern | None = None
    role: Role | None = None


def _words(*languages: str) -> tuple[str, ...]:
    return tuple(entry.strip() for language in languages for entry in language.split(","))


WRITING = (
    Cue(
        label="write",
        leads=True,
        weights={"text_generation": 1.7, "complex_coding": 0.6},
        entries=_words(
            "write, wirte, draft, reply to, continue this, continue the story, compose, pen, come up with, "
            "brainstorm, create, generate, make, give me, suggest, invent",
            "escribe, escribir, escriba, redacta, redactar, redacte, compon, crea, crear, genera, inventa, "
            "sugiere, haz, hazme",
            "ecris, ecrivez, ecrire, redige, redigez, cree, invente, propose",
            "schreib*, verfass*, entwirf, erstell*, formuliere",
            "escreva, escrever, redija, crie, elabore, gere",
            "scrivi, scrivere, scrivimi, componi, redigi",
            "写, 撰写, 起草, 生成",
            "書いて, 作成して, 考えて",
            "напиши*, составь, сочини, придумай",
            "اكتب",
            "लिखो, लिखें, लिखिए, लिख दो",
        ),
    ),
    Cue(
        label="summarise",
        leads=True,
        weights={"text_generation": 2.6, "long_document": 0.8},
        entries=_words(
            "summari*, sumarize, summary, tldr, tl dr, condense, recap, shorten, boil down",
            "resume, resumir, resumen, resumeme, resuma, sintetiza, acorta",
            "resumez, resumer, synthese",
            "fasse, zusammenfass*, kurze",
            "resumo, riassumi, riassunto, riassumere",
            "总结, 摘要, 概括, 概述",
            "要約, まとめて",
            "резюмируй, кратко изложи, перескажи",
            "لخص, تلخيص, ملخص",
            "सारांश, संक्षेप",
        ),
    ),
    Cue(
        label="translate",
        leads=True,
        trait="echo",
        weights={"text_generation": 3.4},
        entries=_words(
            "translat*, how do you say, how would you say, como se dice, transalte, locali*, into spanish, "
            "into english, into french, into german, to spanish, to english",
            "en ingles, en espanol, en frances, en aleman, traduce*, traducir, traduccion, traduzca, al ingles, "
            "al espanol, al frances",
            "tradui*, en anglais, en francais",
            "ubersetz*, ins deutsche, ins englische",
            "traduz*, tradu*, para o ingles, para portugues, in inglese, in italiano",
            "翻译, 译成",
            "翻訳, 訳して",
            "переведи, перевод",
            "ترجم, ترجمة",
            "अनुवाद",
        ),
    ),
    Cue(
        label="edit",
        leads=True,
        trait="echo",
        weights={"text_generation": 2.8},
        entries=_words(
            "rewrite, improve this text, improve this paragraph, improve the writing, improve this essay, "
            "improve this sentence, improve my, reword, rephrase, paraphrase, proofread, copyedit, edit, polish, "
            "fix the grammar, correct the grammar, fix grammar, improve the wording, spell check, "
            "spelling and grammar, grammar mistakes, sound more, less formal, more formal, more concise, "
            "tone down, make this more, make it more, friendlier",
            "mejora la redaccion, mejora este texto, mejora este parrafo, mejora esta frase, reescrib*, "
            "reformula*, parafrasea, corrige*, corregir, pule, revisa la ortografia, mas formal, mas claro, "
            "edita",
            "reecri*, reformul*, corrigez, paraphras*, ameliore",
            "umschreib*, formuliere um, korrigier*, uberarbeite, redigiere",
            "reescreva, corrija, revise, riscrivi, correggi, riformula, parafrasa",
            "改写, 润色, 修改, 校对, 重写",
            "書き直, 校正, 添削, 言い換え",
            "перепиши, перефразируй, исправь ошибки, отредактируй",
            "أعد صياغة, صحح, أعد كتابة",
            "दोबारा लिख, सुधार",
        ),
    ),
    Cue(
        label="a text to write",
        weights={"text_generation": 1.9},
        entries=_words(
            "poem*, poetry, in the style of, al estilo de, im stil von, dans le style, haiku, sonnet, limerick, "
            "essay*, story, stories, tale, blog, newsletter, cover letter, caption*, slogan*, tagline*, speech, "
            "press release, product description*, song, lyrics, screenplay, dialogue, monologue, joke*, "
            "invitation, toast, linkedin post, instagram, ad copy, copywriting, bio, obituary, love letter, "
            "eulogy, thank you note, announcement*, flyer, brochure, invitation text, birthday, apology, pun*, "
            "fable, landing page copy, sales pitch, elevator pitch, outline, testimonial, job description, "
            "resignation letter, villain, protagonist, plot twist",
            "poema*, cuento*, ensayo, historia corta, relato, discurso, carta, cartas, nota de prensa, eslogan*, "
            "cancion, chiste*, guion, boletin, carta de presentacion, descripcion de producto, "
            "descripcion del producto, felicitacion, brindis, invitacion, pie de foto",
            "poeme*, conte, dissertation, nouvelle, discours, chanson, blague*, lettre, slogan, communique",
            "gedicht*, geschichte, aufsatz, rede, liedtext, witz*, brief, anschreiben, werbetext*, "
            "pressemitteilung, rundbrief",
            "conto, redacao, cancao, piada*, legenda, convite",
            "poesia, racconto, saggio, discorso, canzone, barzelletta, lettera, didascalia",
            "诗, 故事, 作文, 文章, 演讲稿, 博客, 文案, 信, 邮件",
            "詩, 俳句, 物語, 手紙, メール, スピーチ, ブログ, 記事",
            "стих*, рассказ*, сказк*, эссе, сочинение, поздравлени*, письмо, речь, пост",
            "قصيدة, قصة, مقال, رسالة, خطاب",
            "कविता, कहानी, निबंध, पत्र, भाषण, ईमेल",
        ),
    ),
    Cue(
        label="a text",
        weights={"text_generation": 0.8},
        entries=_words(
            "email, e mail, letter, article, tweet, headline*, post, message, paragraph, paragraphs, sentence, "
            "description, tone, audience, persuasive, engaging, formal, friendly, reply, note, wording, "
            "name ideas, names for, title*",
            "correo, mensaje, articulo, parrafo*, frase, tono, titular*, publico, respuesta, descripcion, "
            "titulo*, nombres para",
            "courriel, mail, paragraphe*, phrase, ton, nachricht, absatz, absatze, satz, mensagem, messaggio",
        ),
    ),
)

LABELLING = (
    Cue(
        label="classify",
        weights={"classification": 3.0},
        entries=_words(
            "does this contain, does this tweet, does this comment, does this message, contain hate, intent of, "
            "classify, clasify, classifies, categorize, categorise, label, label each, label these, tag each, "
            "tag these, tag the, triage, bucket, assign a category, assign each, which category, which bucket, "
            "which label, flag, what language is, which language is, is this spam, is it spam, rate each, "
            "score each, mark each, route this, route each, route the, route these, sort these into, "
            "sort them into, sort each, which team, which department, which queue",
            "clasifica, clasificar, clasifique, categoriza, categorizar, etiqueta, etiquetar, etiquetalos, "
            "asigna, que categoria, a que categoria, a que departamento, es spam, marca cada",
            "classe, classez, classifie*, categorise*, etiquette*, quelle categorie, attribue",
            "klassifizier*, kategorisier*, ordne, einordnen, welche kategorie, welcher kategorie, markiere",
            "classifique, rotule, qual categoria, classifica, categorizza, etichetta, quale categoria, assegna",
            "分类, 归类, 标注, 判断, 属于哪",
            "分類, ラベル付け, 判定, 仕分け",
            "классифицир*, категоризир*, к какой категории, определи категорию, определи тональность, пометь",
            "صنف, تصنيف",
            "वर्गीकृत, वर्गीकरण, श्रेणी",
        ),
    ),
    Cue(
        label="labels",
        weights={"classification": 1.6},
        entries=_words(
            "choose from, pick one, pick from, options, answer yes or no, say whether, whether it, whether each, "
            "for each, for every, each of these, clickbait, is the following comment, is the following review, "
            "is the following message, is the following email, is the following text, is this comment, "
            "is this review, is this message, is this email, is this tweet, sarcastic, sentiment, spam, ham, "
            "phishing, toxic, toxicity, positive, negative, neutral, urgent, urgency, intent, "
            "one of the following, one of these, one of, yes or no, true or false, answer only with, "
            "respond only with, respond with only, reply with only, only the label, just the label, single word, "
            "one word, output only, relevant or not, spam or not, offensive, hate speech, high medium low, "
            "low medium or high, billing, categories, category, labels, ticket, tickets, priority, polarity, "
            "screening, screen these, does this violate, appropriate or not",
            "esta opinion, esta resena, este comentario, para cada, cada una, di si, dime si, sentimiento, "
            "positivo, negativo, neutro, positiva, negativa, urgente, intencion, una de las siguientes, "
            "uno de estos, si o no, verdadero o falso, responde solo, solo con, categorias, categoria, "
            "etiquetas, prioridad, en que idioma, ofensivo, una sola palabra",
            "positif, negatif, neutre, oui ou non, vrai ou faux, une des, uniquement, priorite",
            "stimmung, positiv*, negativ*, dringend, ja oder nein, nur mit, eine der, kategorien, beschwerde",
            "sentimento, sim ou nao, vero o falso, reclamacao, reclamo, una delle",
            "情感, 正面, 负面, 中性, 垃圾邮件, 类别, 是否",
            "感情, 肯定的, 否定的, ポジティブ, ネガティブ, 中立, スパム, カテゴリ",
            "тональност*, положительн*, отрицательн*, негативн*, позитивн*, спам, нейтральн*, категори*",
            "إيجابي, سلبي, محايد, مزعج, فئة",
            "सकारात्मक, नकारात्मक, तटस्थ, स्पैम, भावना",
        ),
    ),
    Cue(
        label="extract",
        leads=True,
        weights={"classification": 2.8},
        entries=_words(
            "extract, list all the, list every, get me the, list the people, list the names, pull out, pull the, "
            "pick out, parse out, parse the, identify all, identify the, list all the names, get all the, "
            "detect, redact, anonymi*, mask, grab, screen, filter",
            "extrae, extraer, extraiga, saca, sacar, identifica, detecta, filtra, anonimiza",
            "extrais, extrayez, extraire, identifie, repere, extrahier*, erkenne, identifiziere",
            "extraia, extrair, identifique, estrai, estrarre, individua",
            "提取, 抽取, 识别, 找出",
            "抽出, 取り出, 特定して",
            "извлек*, выдели, выпиши, найди все",
            "استخرج, حدد",
            "निकाल, पहचान",
        ),
    ),
    Cue(
        label="fields",
        weights={"classification": 1.0},
        entries=_words(
            "mentioned in, from this text, from the text, out of this text, in this text, entities, "
            "named entit*, ner, phone numbers, email addresses, dates, amounts, invoice*, receipt*, fields, "
            "json, csv, key value, column*, names and, addresses, skills, as json, keywords, resume, cv",
            "de este texto, del texto, mencionad*, entidades, telefonos, fechas, importes, factura*, recibo, "
            "campos, columnas, palabras clave, curriculum, nombres",
            "factures, facture, montants, champs, rechnung*, betrage, felder, fatura, fattura, importi, stichworter",
            "实体, 发票, 字段, 日期, 关键词, 請求書, 日付, キーワード, 氏名, счет*, даты, суммы, الفاتورة, "
            "التاريخ, चालान, तारीख",
        ),
    ),
    Cue(
        label="reshape",
        leads=True,
        weights={"classification": 1.9},
        entries=_words(
            "convert this, convert the following, convert these, convert to json, format as, format this, "
            "format these, format the, reformat, normali*, turn this, turn these, turn the following, sort, "
            "sort this, sort the, order these, alphabeti*, standardi*, as a table, as json, into json, into csv, "
            "to json, to csv, to a table, as csv, into a table, as yaml, to yaml, match each, map each, dedupe",
            "convierte*, formatea, normaliza, ordena, pasa a json, a json, en json, como tabla, en una tabla, "
            "a csv, convertis, formate, trie, en tableau, konvertier*, wandle, formatier*, sortier*, als json, "
            "als tabelle, converta, ordene, em json, converti, formatta, ordina, in json, in tabella",
            "转换, 格式化, 排序, 变成, 変換, 並べ替え, 整形, преобразуй, отсортируй, в json, حول, رتب, बदलें, क्रमबद्ध",
        ),
    ),
)

ASKING = (
    Cue(
        label="question",
        leads=True,
        weights={"qa_retrieval": 1.4},
        entries=_words(
            "what, whats, wat, who, whom, whose, when, where, which, why, is, are, does, do, did, was, were, "
            "has, have, had, in what, in which, at what, on which, to what, whats the",
            "que, quien, quienes, cuando, donde, cual, cuales, por que, cuanto, cuanta, cuantos, cuantas, "
            "en que, hay, es",
            "qui, quand, ou, quel, quelle, quels, quelles, pourquoi, combien, qu est ce, est ce, c est",
            "wer, wann, wo, welche*, warum, wieso, wozu, ist, sind, wie viel*",
            "o que, quem, onde, qual, quais, quanto, quantos, quando, existe",
            "cosa, chi, dove, perche, quale, quali, quanti, che, cos",
            "什么, 谁, 哪里, 哪个, 哪些, 为什么, 多少, 吗, 何时",
            "何, 誰, どこ, いつ, なぜ, どれ, とは, どの",
            "что, кто, когда, где, почему, сколько, какой, какая, какие, какое, зачем, чем",
            "ما, من هو, متى, أين, لماذا, كم, هل",
            "क्या, कौन, कब, कहाँ, क्यों, कितन",
        ),
    ),
    Cue(
        # "You are given a list" opens like a question and is none.
        label="statement",
        leads=True,
        weights={"qa_retrieval": -1.6},
        entries=_words(
            "you are, you have, i am, i have, we are, we have, we were, there are, there is, it is, they are, "
            "i was, this is, here is, here are, i will, my name is",
            "es un, es una, hay un, hay una, tengo, tenemos, somos, eres un, eres una",
        ),
    ),
    Cue(
        label="how",
        leads=True,
        weights={"qa_retrieval": 0.9},
        entries=_words(
            "how, how do i, how does, hows",
            "como",
            "comment",
            "wie",
            "come",
            "怎么, 怎样, 如何",
            "どう, どのように",
            "как",
            "كيف",
            "कैसे",
        ),
    ),
    Cue(
        label="explain",
        leads=True,
        weights={"qa_retrieval": 2.2},
        entries=_words(
            "explain, explian, define, tell me, meaning of, mean, means, definition of, difference between, "
            "eli5, clarify, name the, name three, name five, list the, who invented, help me understand, "
            "recommend, capital of, how many people, how old, remind me what, examples of, i wonder",
            "explica, explicame, explique, explicar, dime, cuentame, significa, significado, diferencia entre, "
            "que es, que son, capital de, aclara, recomienda, enumera, ejemplos de",
            "expliquez, definis, decris, dis moi, difference entre, signifie, capitale de, parle moi",
            "erklar*, definier*, beschreib*, erzahl*, bedeutet, bedeutung, unterschied, hauptstadt, nenne",
            "defina, descreva, me diga, diferenca entre, capital do, liste os",
            "spiega*, definisci, descrivi, dimmi, differenza tra, capitale della, elenca",
            "解释, 介绍, 说明, 定义, 区别, 首都, 是什么意思, 讲讲",
            "説明, 教えて, 意味, 違い, 定義",
            "объясни*, расскажи, опиши, что такое, означает, разниц*, столиц*, определение",
            "اشرح, عرف, ما معنى, الفرق بين, عاصمة, ما هي, ما هو",
            "समझा, बताइए, बताओ, परिभाषा, अंतर, राजधानी, अर्थ",
        ),
    ),
)

SOFTWARE = (
    Cue(
        label="code verbs",
        leads=True,
        weights={"complex_coding": 2.3},
        entries=_words(
            "implement*, debug*, refactor*, code review, review this code, review my code, unit test*, "
            "write tests, write a test, compile, program a, program that, code a, code up, code me, "
            "fix this bug, fix the bug, port this, vectorize, type annotat*, lint, containeri*, "
            "why does this code, why is my code, optimize this, optimise this",
            "implementa*, depura*, refactoriza*, programa un*, pruebas unitarias, test unitario, arregla el bug, "
            "arregla este codigo, revisa este codigo, optimiza esta, optimiza este",
            "implemente*, deboque*, programme un*, tests unitaires, corrige ce code",
            "implementier*, programmier*, refaktorier*, behebe",
            "implemente, depure, refatore, testes unitarios, implementa, programma un*, correggi questo codice",
            "实现, 调试, 重构, 编写一个, 单元测试",
            "実装, デバッグ, リファクタ, テストを書",
            "реализуй, отлад*, рефактор*, запрограммируй, юнит тест*",
            "برمج, نفذ دالة, صحح الكود",
            "डिबग, कोड लिख, प्रोग्राम लिख",
        ),
    ),
    Cue(
        label="fix",
        leads=True,
        weights={"complex_coding": 1.0, "text_generation": 0.3},
        entries=_words(
            "fix, fix this, troubleshoot, why am i getting, not working, doesn t work, fails with, crash*, "
            "throws, broken, error, errors, bug, bugs, returns none, off by one, doesnt work, wont compile",
            "arregla, no funciona, falla, errores, da error, no compila",
            "ne marche pas, erreur, repare, behebe, fehler, funktioniert nicht, nao funciona, erro, "
            "non funziona, errore",
            "报错, 错误, 修复, 崩溃, エラー, 動かない, 修正, 直して, ошибк*, не работает, خطأ, त्रुटि",
        ),
    ),
    Cue(
        label="technology",
        weights={"complex_coding": 2.5},
        entries=_words(
            "python, python3, javascript, js, typescript, ts, java, rust, golang, c++, c#, kotlin, php, ruby, "
            "rails, perl, bash, powershell, sql, mysql, postgres*, sqlite, mongodb, redis, html, css, react, "
            "reactjs, nextjs, vue, angular, svelte, django, flask, fastapi, spring boot, nodejs, node, npm, "
            "docker, dockerfile, docker compose, kubernetes, k8s, terraform, ansible, git, github actions, "
            "ci cd, regex, regexp, regular expression*, pytest, jest, pandas, numpy, pytorch, tensorflow, "
            "graphql, grpc, kafka, webpack, tailwind, asyncio, async await, leetcode, cron, makefile, systemd, "
            "nginx, haskell, scala, elixir, matlab, vba, latex macro, solidity, wasm, webassembly, unity, "
            "opengl",
            "expresion regular, expresiones regulares, expression reguliere, expressao regular, "
            "espressione regolare, regularen ausdruck, 正则, 正規表現, регулярн* выражени*",
        ),
    ),
    Cue(
        label="code words",
        weights={"complex_coding": 1.3},
        entries=_words(
            "function, fucntion, functions, method, class, subroutine, code, codebase, script, snippet, "
            "algorithm, data structure*, linked list, binary tree, binary search, hash map, hashmap, array, "
            "arrays, queue, api, rest api, endpoint*, schema, database, query, queries, backend, frontend, "
            "microservice*, webhook*, oauth, jwt, parser, compiler, exception, stack trace, traceback, segfault, "
            "null pointer, nullpointerexception, memory leak, race condition, deadlock, mutex, thread safe, "
            "recursion, recursive, given an array, given a string, given a list, return the indices, "
            "list comprehension, pull request, repo, repository, merge conflict, commit, cli, sdk, library, "
            "dataframe, variable, loop, for loop, boolean, string, strings, input, stdin, crud, web app, "
            "website, web page, rate limiter, cache, middleware, unit tests, test cases, type hints, "
            "dependency injection, orm, lru cache, tuple, software, one liner, component, hook, load balancer, "
            "message queue, sharding, event driven, server, chrome extension, mobile app, login page, "
            "landing page, big o, time complexity",
            "funcion, funciones, metodo, clase, codigo, algoritmo, consulta, base de datos, esquema, bucle, "
            "arreglo, cadena, excepcion, servidor, aplicacion web, pagina web, programa, lista enlazada, "
            "arbol binario",
            "fonction, methode, algorithme, base de donnees, requete, boucle, programme, chaine, tableau",
            "funktion, klasse, skript, algorithmus, datenbank, abfrage, schleife, programm, zeichenkette",
            "funcao, classe, banco de dados, laco",
            "funzione, codice, ciclo, programma, stringa",
            "代码, 函数, 脚本, 程序, 算法, 数据库, 接口, 数组, 链表, 类, 爬虫, 网页",
            "コード, 関数, スクリプト, プログラム, アルゴリズム, データベース, 配列, クラス, メソッド",
            "код*, функци*, скрипт*, программ*, алгоритм*, баз* данных, запрос, массив*, класс",
            "كود, دالة, برنامج, خوارزمية, قاعدة بيانات",
            "कोड, फंक्शन, फ़ंक्शन, प्रोग्राम, एल्गोरिदम, स्क्रिप्ट, डेटाबेस",
        ),
    ),
    Cue(
        label="about code",
        weights={"complex_coding": 1.6},
        entries=_words(
            "this code, my code, the code below, this function, my function, this script, my script, "
            "write a function, write a script, write a program, write code, write a class, write a query, "
            "write a regex, write a sql, write an sql, write a python, python function, python script, "
            "function to, function that, function which, script that, script to, program that, program to, "
            "class that, build a, build an, build me, create a function, create a script, create an api, "
            "design an api, design a schema, design a database, make a website, code to, code that, code for, "
            "system design, design a system, architecture for",
            "este codigo, mi codigo, esta funcion, mi script, este bucle, escribe una funcion, "
            "escribe un script, escribe un programa, escribe codigo, funcion que, funcion para, script que, "
            "script para, programa que, clase que, crea una funcion, crea un script, crea una api, "
            "haz un script, haz una funcion, consulta sql, codigo para, construye un*",
            "fonction qui, fonction pour, script qui, programme qui, funktion die, skript das, programm das, "
            "funcao que, funcao para, funzione che, script che, programma che, функцию, скрипт который, "
            "программу которая",
        ),
    ),
)

THINKING = (
    Cue(
        label="mathematics",
        trait="math",
        weights={"deep_reasoning": 2.4},
        entries=_words(
            "integral, integrals, subject to, balance scale, heavier or lighter, interior angle*, angles, angle, "
            "original price, derivative, derivatives, differentiate, equation*, eigenvalue*, eigenvector*, "
            "matrix, matrices, theorem, lemma, polynomial*, quadratic, prime, primes, modulo, probability, "
            "probabilities, expected value, variance, combinatori*, permutation*, geometry, geometric, "
            "triangle*, rectangle, circle, radius, perimeter, hypotenuse, vertices, integer, integers, "
            "divisible, remainder, logarithm, sine of, cosine of, tangent, real numbers, real number, "
            "positive integers, arithmetic, fraction, gcd, lcm, isosceles, equilateral, polygon, factorial, "
            "convergent, converges, diverges, limit of, calculus, bayes, bayesian, markov, dice, coin flips, "
            "simultaneous, inequality, square root, roots of, pascal s triangle, parabola, ellipse, asymptot*, "
            "algebra*, abelian, bijection, induction, sides of length, possible values, digit, digits, "
            "three digit, two digit, line segment*, midpoint*, base 2, real values, degrees, diagonal, "
            "coordinates, whole number, whole numbers, sum of the digits, smallest possible, largest possible, "
            "rolled, marbles, deck of cards, continuous function, sum of the first, compound interest, binomial",
            "poligono*, diagonales, derivada*, ecuacion*, matriz, teorema, polinomio*, primos, primo, "
            "probabilidad*, triangulo*, circulo, radio, perimetro, entero, enteros, fraccion, raiz cuadrada, "
            "limite, induccion, desigualdad, dados",
            "derivee*, theoreme, polynome, probabilite*, entiers, gleichung*, ableitung, wahrscheinlichkeit, "
            "dreieck*, primzahl*, satz des, equacao, equacoes, inteiros, probabilidade, equazion*, derivata, "
            "probabilita, numeri primi, integrale",
            "方程, 积分, 导数, 概率, 三角形, 质数, 素数, 矩阵, 极限, 定理, 不等式",
            "方程式, 積分, 微分, 確率, 行列, 整数",
            "уравнени*, интеграл*, производн*, вероятност*, теорем*, треугольник*, матриц*, простых чисел, неравенств*",
            "معادلة, تكامل, مشتقة, احتمال, مثلث, مصفوفة",
            "समीकरण, समाकलन, प्रायिकता, त्रिभुज, अवकलज, आव्यूह",
        ),
    ),
    Cue(
        label="reason",
        leads=True,
        weights={"deep_reasoning": 2.3},
        entries=_words(
            "estimate, minimize, minimise, maximize, maximise, lay out, prove, proof, proof of, disprove, "
            "derive, solve, deduce, show that, work out, reason through, think through, decompose, break down, "
            "determine, infer, verify whether, find the value, find all, find the minimum, find the maximum, "
            "find the sum, evaluate the, how many different, how many distinct, compute, calculate, simplify, "
            "how many ways",
            "demuestra*, demostrar, prueba que, resuelve, resolver, calcula, razona, deriva, descompon, "
            "determina, halla, encuentra el valor, simplifica",
            "demontr*, resous, resoudre, calcule, prouve, deduis",
            "beweis*, lose, berechne, leite her, zeige dass, bestimme",
            "resolva, demonstre, deduza, dimostra, risolvi, calcola, deduci",
            "证明, 求解, 计算, 推导, 推理, 求",
            "証明, 解いて, 計算, 求めよ, 推論, 導出",
            "докажи*, реши*, вычисли, посчитай, рассчитай, найдите, выведи, доказательств*",
            "أثبت, احسب, حل, برهن",
            "सिद्ध, हल कर, गणना",
        ),
    ),
    Cue(
        label="strategy",
        weights={"deep_reasoning": 1.9},
        entries=_words(
            "strategy, strategies, strategic, trade off*, tradeoff*, pros and cons, should we, should i, "
            "should our, decide whether, which option, decision, prioritize, prioritise, prioriti*, roadmap, "
            "root cause*, feasibility, go to market, scenario*, cost benefit, business model, game theory, "
            "second order, counterargument*, ethical, dilemma, implications, stakeholder*, risks, weigh, "
            "market entry, competitive advantage, incentive*, argue whether, devil s advocate, is it better, "
            "better to, assumption*, reasoning, design an experiment, design a study, experiment design, "
            "confounder*, anticipate, evaluate whether, thought experiment, hypothes*, causal*, long term, "
            "budget allocation, acquisition, merger, migration plan, what would happen if, break the problem, "
            "sub problems, subproblems, optimal",
            "estrategia*, estrategico, es mejor, que es mejor, ventajas y desventajas, pros y contras, "
            "deberiamos, deberia, nos conviene, me conviene, priori*, causa raiz, viabilidad, escenario*, "
            "riesgos, implicaciones, dilema, modelo de negocio, hipotesis, largo plazo",
            "strategie*, avantages et inconvenients, devrions, faut il, risques, compromis, vor und nachteile, "
            "sollten wir, soll ich, risiken, abwagung*, szenari*, vantagens e desvantagens, devemos, "
            "vale a pena, riscos, strategia, vantaggi e svantaggi, dovremmo, conviene, rischi",
            "策略, 战略, 权衡, 利弊, 是否应该, 风险, 决策",
            "戦略, メリットとデメリット, べきか, リスク, 意思決定",
            "стратеги*, плюсы и минусы, стоит ли, риск*, компромисс*, последстви*",
            "استراتيجية, إيجابيات وسلبيات, هل يجب, مخاطر",
            "रणनीति, फायदे और नुकसान, जोखिम, निर्णय",
        ),
    ),
    Cue(
        label="analyse",
        leads=True,
        weights={"deep_reasoning": 1.4, "long_document": 0.6},
        entries=_words(
            "analyze, analyse, assess, evaluate, compare, contrast, critique, weigh, plan, design a strategy, "
            "justify, argue, diagnose, investigate, think",
            "analiza*, evalua, compara, critica, planifica, argumenta, justifica, diagnostica",
            "analysez, evalue, comparez, planifie, analysier*, bewerte, vergleiche, plane, avalie, analise, "
            "planeje, analizza, valuta, confronta, pianifica",
            "分析, 评估, 比较, 规划, 评价, 評価, 比較, 計画, проанализир*, оцени, сравни, спланируй, حلل, قارن, "
            "قيم, विश्लेषण, तुलना",
        ),
    ),
    Cue(
        label="logic",
        weights={"deep_reasoning": 2.6},
        entries=_words(
            "puzzle*, riddle*, knights and knaves, knaves, syllogism, if and only if, contradiction, paradox, "
            "clues, clue, truth teller*, each person, houses in a row, to the left of, to the right of, "
            "next to each other, different characteristics, seated around, always lie, always lies, "
            "tells the truth, tell the truth, telling the truth, liar, liars, premise*, must be true, logically, "
            "logic grid, missionaries, river crossing, prisoner s dilemma, counterexample, who owns, "
            "sits next to, lives next to, weighings, fallacy",
            "acertijo*, adivinanza, paradoja, pistas, premisas, logica, siempre miente, mentiroso, contraejemplo",
            "enigme, devinette, logique, ratsel, logisch, widerspruch, enigma, charada, logico, indovinello",
            "谜题, 逻辑, 悖论, 前提, 論理, パズル, 矛盾, загадк*, логическ*, парадокс, головоломк*, لغز, منطق, "
            "पहेली, तर्क",
        ),
    ),
    Cue(
        label="exact science",
        weights={"deep_reasoning": 0.9},
        entries=_words(
            "quantum, wavelength, enthalpy, hamiltonian, entropy, spectrum, spectroscopy, reaction, molar, "
            "stoichiometr*, eigenstate*, relativistic, momentum, velocity, acceleration, friction, electron*, "
            "isotope, equilibrium, thermodynamic*, nmr, resistor, capacitor, photon*, orbital, orbital period*, "
            "orbiting, titrat*, projectile, nucleophil*, electrophil*, hydrocarbon*, enzyme*, allele*, "
            "genotype*, protein*, molecul*, compound a, compound b, product a, catalyst, oxidation, proton*, "
            "neutron*, kinetic energy, magnetic field, redshift, luminosity, black hole, plasmid, "
            "transcription factor*, mutant*, wild type, dipole, diffraction, phonon*, bandgap, aqueous",
            "velocidad, aceleracion, reaccion, cuantic*, entropia, termodinamic*, vitesse, geschwindigkeit, "
            "beschleunigung",
        ),
    ),
)

DOCUMENTS = (
    Cue(
        label="long documents",
        weights={"long_document": 3.0},
        entries=_words(
            "attached lease, attached agreement*, attached proposal*, attached policy, attached report*, "
            "attached document*, attached contract*, attached pdf*, attached paper*, attached book, "
            "attached transcript*, attached file*, attached manual, attached filing*, attached 10 k, this book, "
            "the book, whole book, entire book, entire document, whole document, full document, entire report, "
            "full report, whole report, full text of, entire contract, annual report*, 10 k, 10 k filing, "
            "chapter by chapter, across the documents, across documents, across all, across these, "
            "these documents, all documents, all the documents, following documents, these contracts, "
            "contract set, these reports, these papers, the following papers, research papers, deposition*, "
            "due diligence, literature review, transcripts, case file*, long document*, long report*, long pdf, "
            "this pdf, the manuscript, this manuscript, full manuscript, entire manuscript, my manuscript, "
            "dissertation, this thesis, page report, page document, page contract, page pdf, page manual, "
            "page transcript, page agreement, earnings call transcript*, lease agreement*, uploaded document*, "
            "uploaded pdf*, uploaded file*, data room, full transcript, entire transcript, hearing transcript, "
            "clinical study report, rfp, court filing*, policy document*, knowledge base articles",
            "informe adjunto, documento adjunto, contrato adjunto, pdf adjunto, archivo adjunto, informe anual, "
            "memoria anual, estos documentos, todos los documentos, todo el documento, documento completo, "
            "informe completo, los contratos, estos contratos, el libro, este libro, expediente*, "
            "libro completo, capitulo por capitulo, paginas del informe, transcripcion completa, "
            "documentos adjuntos, informes adjuntos, contratos adjuntos, este pdf, transcripciones, "
            "novela adjunta, manual adjunto, pliego",
            "rapport annuel, document joint, rapport joint, ces documents, contrat joint, ce livre, "
            "tout le document, documents joints, pieces jointes, ces contrats, ce contrat",
            "jahresbericht*, geschaftsbericht*, angehangt*, beigefugt*, diese dokumente, diesen bericht, "
            "gesamte dokument, gesamten bericht, dieses buch, diesen vertrag, vertrage, seitigen",
            "relatorio anual, documento anexo, relatorio anexo, contrato anexo, em anexo, estes documentos, "
            "todo o documento, este livro, relazione allegata, documenti allegati, contratto allegato, "
            "bilancio annuale, questo libro, intero documento, questi documenti, allegato, allegata",
            "附件, 报告全文, 整本书, 这本书, 这些文件, 这些报告, 合同, 年报, 长文档, 全文, 几百页",
            "添付の, 報告書, 契約書, 年次報告, これらの文書, 本全体, 議事録",
            "прикрепленн*, приложенн*, годовой отчет, годового отчета, эти документы, этих документов, "
            "всю книгу, договор*, весь отчет",
            "المرفق, المرفقة, التقرير السنوي, هذه الوثائق, العقد, الكتاب كامل",
            "संलग्न, वार्षिक रिपोर्ट, इन दस्तावेज, अनुबंध, पूरी किताब",
        ),
    ),
    Cue(
        label="something attached",
        weights={"long_document": 2.3},
        entries=_words(
            "attached, attachment*, uploaded, i ve uploaded, i uploaded, adjunt*, ci joint, jointe, beigefugt*, "
            "anbei, allegat*, em anexo, 附件, 添付, вложен*"
        ),
    ),
    Cue(
        label="document work",
        weights={"long_document": 0.9},
        entries=_words(
            "this contract, the contract, the pdf, this report, the report, synthesize, synthesise, "
            "cross reference, key findings, themes, inconsisten*, clauses, clause, obligations, cite, citing, "
            "page numbers, sections, chapters, appendix, findings, executive summary, filings, contradict*, "
            "discrepanc*",
            "el informe, este informe, el contrato, este contrato, sintetiza, clausulas, obligaciones, "
            "capitulos, secciones, hallazgos, resumen ejecutivo, contradicciones, anexos, temas",
            "le rapport, ce rapport, le contrat, ce contrat, synthetise, klauseln, kapitel, clausole, capitoli, "
            "条款, 章节, 条項, 章, пункт*, البنود, धारा",
        ),
    ),
)

ACTING = (
    Cue(
        label="act",
        leads=True,
        weights={"agentic_tool_use": 2.1},
        entries=_words(
            "search, browse, google, look up, lookup, fetch, download, open, pull the latest, look through, "
            "send, email, e mail, book, schedule, order, buy, run, execute, deploy, install, click, navigate, "
            "monitor, check my, check the, check whether, upload, insert, delete, remove, update, notify, "
            "remind, scrape, crawl, query, log in, reserve, cancel, move all, move the, rename, go to, visit, "
            "post to, post this, add, set, turn on, turn off, call, transfer, reschedule, invite, "
            "create a ticket, create an issue, file a, find me, find flights, find and",
            "mira si, comprueba, reservala, reservalo, envialo, enviala, mandalo, mandala, guardalo, busca, "
            "buscame, envia, enviale, enviame, manda, mandale, reserva, reservame, descarga, ejecuta, abre, "
            "agenda, programa, actualiza, compra, borra, elimina, inserta, consulta, publica, sube, instala, "
            "despliega, cancela, mueve, renombra, notifica, avisa, avisame, entra, navega, revisa mi, llama, "
            "pide, recuerdame, investiga",
            "cherche, recherche, envoie, telecharge, ouvre, planifie, supprime, installe, commande, mets a jour",
            "such, suche, sende, schick*, buche, lade, fuhre, offne, installiere, losche, bestelle, plane, "
            "recherchiere, reservier*",
            "busque, pesquise, envie, baixe, abra, agende, atualize, apague, compre, cerca, invia, prenota, "
            "scarica, esegui, apri, aggiorna, cancella, ordina, installa",
            "搜索, 上网查, 发送, 发邮件, 预订, 下载, 运行, 查询, 打开, 安排, 订",
            "検索して, 送信して, 送って, 予約して, ダウンロード, 実行して, 調べて, 開いて",
            "найди, отправь, забронируй, скачай, запусти, открой, закажи, запланируй, обнови, удали, поищи, установи",
            "ابحث, أرسل, احجز, حمل, شغل, افتح",
            "खोजें, खोजो, खोजकर, भेजें, भेजो, भेज दो, बुक कर, डाउनलोड, चलाओ",
        ),
    ),
    Cue(
        label="tools named",
        trait="live",
        weights={"agentic_tool_use": 3.4},
        entries=_words(
            "using tools, use tools, use the tools, with the tools, your tools, available functions, "
            "available tools, following functions, following tools, call the function, function call*, "
            "tool call*",
            "usando herramientas, usa las herramientas, tus herramientas, 使用工具, ツールを使, используя инструменты",
        ),
    ),
    Cue(
        label="tools",
        weights={"agentic_tool_use": 2.3},
        entries=_words(
            "search the web, search online, search the internet, web search, browse the web, on the web for, "
            "then email, and email, email it to, email me, send it to, send them to, send me, tell me when, "
            "let me know when, notify me, then send, and send, and notify, then notify, then book, and book, "
            "and save it, save it to, save the result*, save them to, then save, and save, write it to a file, "
            "to a file, post it to, then post, and post, slack, my calendar, calendar invite, my inbox, jira, "
            "open a pull request, github issue*, in the browser, autonomous*, crm, google sheet*, google drive, "
            "spreadsheet, run the tests, run tests, until they pass, until it passes, until all tests pass, "
            "and deploy, then deploy, step by step using, operate the, on my computer, in my folder, "
            "in the database, in my account, and update the, then update, execute it, run it and, and run it, "
            "hubspot, salesforce, every morning, every day at, every hour, add it to my, create a calendar, "
            "sign up for, fill in the form, fill out the form",
            "busca en internet, busca en la web, busca en google, en internet, en la web, y envia*, y manda*, "
            "y mandalo, luego envia*, luego manda*, y guarda*, luego guarda*, guardalo, y reserva, "
            "mi calendario, mi correo, mi bandeja, hoja de calculo, por correo, y avisa*, y ejecuta, "
            "ejecuta los tests, hasta que pasen, y publica*, y actualiza*, cada manana, en la base de datos, "
            "y notifica",
            "sur internet, sur le web, puis envoie, et envoie, mon calendrier, par mail, im internet, im web, "
            "und sende, und schick*, per mail, meinen kalender, und speicher*, na internet, e envie, por email, "
            "e salve, minha agenda, su internet, sul web, e invia*, via email, e salva*, mio calendario, "
            "e mandalo",
            "然后发, 并发送, 发给, 保存到, 日历, 网上, 使用工具",
            "ウェブで, ネットで, カレンダー, 保存して, メールで送, ツールを使",
            "в интернете, и отправь, затем отправь, и сохрани, календар*, по почте, используя инструменты",
            "في الإنترنت, على الويب, وأرسل, ثم أرسل, بالبريد",
            "इंटरनेट पर, वेब पर, और भेज, ईमेल कर, कैलेंडर",
        ),
    ),
)

MEANING = (
    Cue(
        label="embeddings",
        weights={"embedding": 3.8},
        entries=_words(
            "embedding*, cosine similarity, embed, embed the, vectorise these, vectorize these, "
            "vector representation*, vector search, vector store, vector database, vector index, "
            "semantic similarity, semantic search, semantically similar, semantically, nearest neighbor*, "
            "nearest neighbour*, near duplicate*, near identical, similar meaning, same meaning, "
            "similar in meaning, by meaning, mean the same, similarity score*, similarity between, how similar, "
            "most similar, similarity matrix, text embedding*, sentence vectors, say the same, "
            "worded differently, different words, paraphrase detection, closest in meaning, deduplicate, "
            "de duplicate, dedupe by",
            "lo mismo con otras palabras, dicen lo mismo, digan lo mismo, similitud semantica, semanticamente, "
            "por significado, mismo significado, mas parecid*, mas similar*, similitud entre, vectores de, "
            "vectoriza*, vector de, incrustaciones, deduplica*, que tan similares, cuan similares, "
            "casi duplicad*, busqueda semantica, significan lo mismo, duplicados",
            "similarite, semantique*, plongement*, meme sens, doublons, ahnlichkeit*, semantisch*, einbettung*, "
            "duplikate, similaridade, semantic*, somiglianza, similarita, incorporamenti, duplicati, "
            "stesso significato",
            "嵌入, 向量, 相似度, 语义, 去重, 最相似",
            "埋め込み, ベクトル化, 類似度, 意味的, 重複, 意味が近い",
            "эмбеддинг*, векторн*, семантическ*, сходств*, дубликат*, похожи*",
            "تضمين, تشابه, دلالي, التشابه",
            "एम्बेडिंग, समानता, वेक्टर",
        ),
    ),
    Cue(
        label="cluster",
        leads=True,
        weights={"embedding": 2.6},
        entries=_words(
            "cluster, clusters, clustering, group these, group similar, group the, similarity, duplicates, "
            "find similar, similar to this, k means, rank these by",
            "agrupa*, agrupar, similitud, coseno, regroupe*, clustere*, gruppiere*, agrupe, raggruppa*",
            "聚类, 分组, クラスタ, グループ分け, кластер*, сгруппир*, تجميع, جمع, क्लस्टर, समूह",
        ),
    ),
)

EFFORT = (
    Cue(
        label="hard words",
        trait="hard",
        weights={},
        entries=_words(
            "optimi*, distributed, concurren*, scalab*, fault toleran*, prove, proof, rigorous*, novel, complex, "
            "trade off*, tradeoff*, consensus, lock free, thread safe, zero downtime, byzantine, compiler, "
            "kernel, cryptograph*, production ready, architect*, in depth, in detail, exhaustive*, multi tenant, "
            "asymptotic, regulatory, compliance, jurisdiction*, olympiad, race condition*, deadlock, theorem, "
            "derive, eventual consistency, millions of, high availability, multi region, backward compatib*, "
            "security audit, threat model*, idempoten*, low latency, root cause*, quantum, "
            "differential equation*, game theory, causal*, nuanced, expert, phd, advanced, synthesi*, "
            "contradict*, due diligence",
            "optimiz*, distribuid*, escalab*, complej*, exhaustiv*, riguros*, detallad*, arquitectura, "
            "demuestra*, teorema, experto, avanzad*, normativ*, a fondo, en profundidad, alta disponibilidad, "
            "causa raiz",
            "approfondi*, distribue, verteilt*, nebenlauf*, ausfuhrlich*, beweis*, aprofundad*, approfondit*, "
            "distribuit*",
            "分布式, 并发, 优化, 证明, 复杂, 架构, 分散, 並行, 最適化, 証明, 複雑, распределенн*, оптимизир*, "
            "докажи*, сложн*",
        ),
    ),
    Cue(
        label="easy words",
        trait="easy",
        weights={},
        entries=_words(
            "simple, quick*, briefly, brief, short, basic, trivial, one sentence, one word, one line, one liner, "
            "yes or no, tiny, small, easy, hello world, tldr, in a nutshell, single word, concise, real quick, "
            "two sentences, one paragraph",
            "sencill*, rapid*, breve*, brevemente, corto, corta, cort*, basic*, una frase, una palabra, "
            "una linea, si o no, facil, un parrafo, dos frases, pequen*",
            "court, courte, rapide*, bref, en une phrase, kurz*, einfach*, in einem satz, schnell, curto, curta, "
            "simples, rapidamente, semplice, in una frase",
            "简单, 简短, 一句话, 简要, 簡単, 一言, 短い, 一文, кратко, простой, простую, короткий, коротко, "
            "باختصار, بسيط, संक्षेप, सरल",
        ),
    ),
    Cue(
        label="large deliverable",
        trait="large",
        weights={},
        entries=_words(
            "complete, entire, from scratch, end to end, full, full stack, whole, comprehensive, system, "
            "platform, application, business plan, book, novel, thesis, whitepaper, curriculum, roadmap, "
            "framework, engine, detailed plan, game, step by step guide, course, with tests, and documentation, "
            "all chapters, report, migration",
            "completo, completa, entero, entera, desde cero, plataforma, sistema, aplicacion, plan de negocio, "
            "novela, libro, informe, curso, extremo a extremo, complet, vollstandig*, umfassend*, piattaforma",
            "完整, 系统, 平台, 从零, 全面, 完全な, システム, полн*, систем*, كامل, نظام, पूरा, संपूर्ण",
        ),
    ),
    Cue(
        label="steps",
        trait="step",
        weights={"agentic_tool_use": 0.2},
        entries=_words(
            "first, then, next, finally, after that, afterwards, once done, second, third, step 1, step 2, "
            "step 3, step 4, lastly",
            "primero, luego, despues, finalmente, por ultimo, a continuacion, segundo, paso 1, paso 2, paso 3",
            "d abord, ensuite, puis, enfin, zuerst, dann, danach, anschließend, schließlich, primeiro, depois, "
            "em seguida, por fim, prima, poi, infine, dopo",
            "首先, 然后, 接着, 最后, まず, 次に, その後, 最後に, сначала, затем, потом, наконец, أولا, ثم, "
            "أخيرا, पहले, फिर, अंत में",
        ),
    ),
    Cue(
        label="constraints",
        trait="constraint",
        weights={},
        entries=_words(
            "must, should not, without, at least, at most, no more than, exactly, only, avoid, ensure, "
            "make sure, include, including, require*, unless, except, do not, don t, need to support, "
            "should support, should handle, support for, assume, limit, given that, under, less than, within",
            "debe, deben, debera, sin, al menos, como maximo, evita, incluye, incluyendo, asegura*, solo, "
            "exactamente, no mas de, menos de, excepto, no uses, ten en cuenta",
            "sans, au moins, doit, inclure, eviter, ohne, mindestens, muss, hochstens, nur, sem, pelo menos, "
            "deve, inclua, senza, almeno, devono, includi",
            "必须, 不要, 至少, 包括, 避免, 必ず, 少なくとも, 含め, ないで, должен, должна, без, не менее, "
            "включая, يجب, بدون, जरूर, बिना",
        ),
    ),
    Cue(
        label="current facts",
        trait="live",
        weights={"agentic_tool_use": 0.5},
        entries=_words(
            "today, today s, right now, current price, current weather, current status, latest news, "
            "latest version, latest release, as of today, live score*, stock price, share price, weather, "
            "breaking news, exchange rate, the latest",
            "hoy, ahora mismo, precio actual, ultimas noticias, ultima version, clima en, el tiempo en, "
            "tipo de cambio, cotiza*, mas reciente*",
            "aujourd hui, actuellement, meteo, dernieres nouvelles, heute, aktuell*, wetter, gerade jetzt, hoje, "
            "agora, previsao do tempo, oggi, adesso, attualmente, che tempo fa, ultime notizie",
            "今天, 最新, 现在, 目前, 天气, 股价, 今日, 現在, 天気, 最近のニュース, 株価, сегодня, сейчас, "
            "погода, текущ*, последние новости, курс, اليوم, الآن, الطقس, आज, मौसम, अभी, ताजा",
        ),
    ),
    Cue(
        label="an image",
        # What is attached is no document then.
        trait="vision",
        weights={"long_document": -2.3},
        entries=_words(
            "this image, the image, attached image*, attached photo*, attached picture, attached screenshot*, "
            "this photo, this picture, this screenshot, the screenshot, in the picture, in the photo, "
            "these images, these photos, image attached, screenshot attached, photo attached, this diagram, "
            "attached diagram, this chart, attached chart, this scan, uploaded image",
            "esta imagen, la imagen adjunta, imagen adjunta, esta foto, foto adjunta, captura de pantalla, "
            "esta captura, estas fotos, en la imagen, en la foto",
            "cette image, cette photo, image jointe, dieses bild, dieses foto, auf dem bild, screenshot anbei, "
            "esta imagem, nesta foto, imagem anexa, questa immagine, questa foto, immagine allegata",
            "这张图, 图片中, 这张照片, 截图, この画像, この写真, 画像の, на фото, на картинке, это изображение, "
            "этом изображении, هذه الصورة, इस तस्वीर, इस चित्र",
        ),
    ),
)

ORCHESTRATION = (
    Cue(
        label="chain",
        pattern="prompt_chaining",
        weights={},
        entries=_words(
            "prompt chain*, chain of prompts, use that output, using the output of, feed the result, "
            "feed that into, multi stage, in stages, pipeline of prompts, from the previous step, "
            "output of step",
            "cadena de prompts, usa esa salida, con el resultado anterior, por etapas, del paso anterior",
        ),
    ),
    Cue(
        label="route",
        pattern="routing",
        role="classifier",
        weights={"classification": 0.8},
        entries=_words(
            "route this, route each, route the, route these, dispatch this, which agent should, "
            "which model should, which team should, which department should, hand off to, forward to the right, "
            "to the right team, to the right department, you are a router, you are a classifier, intent router",
            "que departamento, que equipo debe, que agente debe, deriva al, dirige cada, "
            "al departamento correcto, al equipo correcto, eres un clasificador, eres un enrutador",
        ),
    ),
    Cue(
        label="in parallel",
        pattern="parallelization",
        weights={},
        entries=_words(
            "in parallel, independently, concurrently for each, each in isolation, majority vote, vote among, "
            "fan out, simultaneously, map reduce over",
            "en paralelo, de forma independiente, independientemente, por votacion, simultaneamente, "
            "en parallele, parallel, in parallelo, em paralelo, 并行处理, 並列に, параллельно",
        ),
    ),
    Cue(
        label="orchestrate",
        pattern="orchestrator_workers",
        role="planner",
        weights={"deep_reasoning": 0.5},
        entries=_words(
            "orchestrat*, delegate, subtasks, sub tasks, subagent*, sub agent*, worker agents, assign workers, "
            "break this down into tasks, break it into tasks, decompose this into, decompose the, "
            "split the work, break this project",
            "orquesta*, delega, subtareas, subagentes, divide el trabajo, descompon, divide en tareas, "
            "sous taches, teilaufgaben, subtarefas, sottocompiti, 子任务, サブタスク, подзадач*",
        ),
    ),
    Cue(
        label="refine",
        pattern="evaluator_optimizer",
        weights={},
        entries=_words(
            "critique and improve, critique and revise, review and refine, evaluate and improve, iterate until, "
            "keep improving, self critique, score and revise, refine until, revise until, generate and critique, "
            "then critique, improve it until, and then improve it",
            "critica y mejora, evalua y mejora, itera hasta, mejora hasta, revisa y mejora, autocritica",
        ),
    ),
    Cue(
        label="planner",
        role="planner",
        weights={"deep_reasoning": 0.6},
        entries=_words(
            "you are a planner, you are the planner, planning agent, make a plan, create a plan, "
            "write a plan for, plan the steps, plan how to, outline the steps, execution plan, "
            "eres el planificador, eres un planificador, haz un plan, crea un plan, planifica los pasos",
        ),
    ),
    Cue(
        label="worker",
        role="worker",
        weights={},
        entries=_words(
            "you are a worker, worker agent, your subtask, your sub task, your assigned task, only this subtask, "
            "eres un trabajador, tu subtarea, subtask 1, subtask 2, subtask 3, subtask 4, part of a larger task",
        ),
    ),
    Cue(
        label="evaluator",
        role="evaluator",
        weights={"deep_reasoning": 0.6},
        entries=_words(
            "you are a judge, you are an evaluator, you are a grader, grade this answer, grade the following, "
            "score this answer, judge which, judge the, evaluate this answer, evaluate the answer, "
            "evaluate the response, evaluate the following answer, rate this response, rate the answer, "
            "rate the following response, which answer is better, which response is better, against the rubric, "
            "using this rubric, eres un evaluador, eres un juez, evalua esta respuesta, evalua la respuesta, "
            "califica esta respuesta, que respuesta es mejor, segun la rubrica",
        ),
    ),
    Cue(
        label="optimizer",
        role="optimizer",
        weights={},
        entries=_words(
            "based on the feedback, given the feedback, address the feedback, incorporate the feedback, "
            "apply the feedback, revise your answer, improve your answer, following critique, "
            "reviewer s comments, according to the critique, segun los comentarios, con base en los comentarios, "
            "aplica los comentarios, mejora tu respuesta",
        ),
    ),
    Cue(
        label="synthesizer",
        role="synthesizer",
        weights={"text_generation": 0.4},
        entries=_words(
            "combine these, combine the following, combine the answers, combine the results, merge these, "
            "merge the following, synthesize these, synthesise these, synthesize the following, "
            "synthesize the results, integrate these, worker outputs, outputs of the workers, into one answer, "
            "into a single answer, consolidate, combina estas, combina los resultados, fusiona, "
            "sintetiza los resultados, en una sola respuesta, consolida",
        ),
    ),
)

CUES: tuple[Cue, ...] = (
    *WRITING,
    *LABELLING,
    *ASKING,
    *SOFTWARE,
    *THINKING,
    *DOCUMENTS,
    *ACTING,
    *MEANING,
    *EFFORT,
    *ORCHESTRATION,
)

COURTESIES: frozenset[str] = frozenset(
    # Words that may stand before an imperative or a question without making it anything else.
    _words(
        "please, pls, plz, can, could, would, will, you, kindly, i, i'd, want, need, like, to, help, me, us, "
        "just, now, hi, hey, hello, ok, okay, so, and, then, also, lets, let, s, ll, d, the, your, task, is, my, "
        "we, must, should, quick, go, ahead, question, q, a, first, next, finally, second, carefully, thanks",
        "por, favor, puedes, podrias, puede, podria, necesito, quiero, quisiera, que, ayudame, y, luego, hola, "
        "oye, ahora, tu, tarea, es, primero, despues, finalmente, nos, oiga",
        "il, vous, te, plait, peux, pouvez, pourrais, je, veux, voudrais, moi, bonjour, ensuite, puis, abord",
        "bitte, kannst, du, konnen, konntest, sie, ich, mochte, mir, hallo, dann, zuerst, mal, uns",
        "voce, pode, poderia, preciso, eu, quero, puoi, potresti, vorrei, voglio, ciao, mi, ho, bisogno, di, "
        "per, favore, poi",
        "пожалуйста, можешь, можете, мне, нужно, привет",
    )
)

GREETINGS: frozenset[str] = frozenset(
    _words(
        "a, lot, hi, hello, hey, hiya, yo, howdy, greetings, good, morning, afternoon, evening, night, there, "
        "thanks, thank, you, thx, cheers, bye, goodbye, how, are, ok, okay, great, cool, nice, whats, up, what, "
        "s, sup, test, ping, yes, no, much, so, very, again",
        "hola, buenas, buenos, dias, tardes, noches, gracias, muchas, adios, que, tal, como, estas, vale, hasta, "
        "luego, saludos",
        "bonjour, salut, merci, beaucoup, bonsoir, ca, va, hallo, guten, tag, morgen, abend, danke, tschuss, "
        "wie, geht, dir",
        "ola, oi, bom, dia, boa, tarde, noite, obrigado, obrigada, tudo, bem, ciao, buongiorno, buonasera, "
        "grazie, come, stai",
        "привет, здравствуйте, спасибо, добрый, день, пока, как, дела",
    )
)

GREETINGS_ELSEWHERE: tuple[str, ...] = _words(
    "你好, 您好, 谢谢, 早上好, こんにちは, ありがとう, おはよう, 안녕, مرحبا, السلام عليكم, شكرا, नमस्ते, धन्यवाद"
)
