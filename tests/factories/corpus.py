"""The text the tokenizers are trained on: short, and mixed, to leave some characters in pieces.

Other scripts and emoji are too rare here to earn whole tokens, as many are in the published
vocabularies, so that they come in pieces: of several bytes (byte-level) or one (byte fallback).
"""

LATIN = """\
The quick brown fox jumps over the lazy dog, and the dog does not mind at all.
A model reads a prompt, predicts the next token, and then reads its own answer back.
What is the weather in Paris today? It is sunny, with a light wind from the north.
Please write a short story about a lighthouse keeper who collects letters from the sea.
def add(left: int, right: int) -> int:
    return left + right
for index in range(10):
    print(index, index * index)
{"name": "get_weather", "arguments": {"city": "Berlin", "unit": "celsius"}}
In 1969 two people walked on the moon; by 2024 there were 8 billion of us watching.
It's what they've said, I'm sure you'll agree, and we'd say so too: don't worry.
Thinking takes time. First, consider the question. Second, consider what is known. Then answer.
The user asks for help, the assistant helps, the system watches over both of them.
Straße, Übung, schöne Grüße aus München: für Ärger und Öl, größer und kühler.
Déjà vu, café, naïve, señor, année, português, coração, crème brûlée.
The server sends a message, the client reads the message, and the connection closes.
There are three things to know: the first thing, the second thing, and the last thing.
"""

OTHER_SCRIPTS = """\
你好，世界。今天的天气很好，我们去公园吧。谢谢你的帮助。
こんにちは世界。今日はとても良い天気ですね。ありがとうございます。
안녕하세요 세계. 오늘 날씨가 좋네요.
Привет, мир. Сегодня хорошая погода, и мы идём гулять.
🙂 👍🏽 🚀 👨‍👩‍👧‍👦 ❤️ 🎉 🌍 ✅
"""
