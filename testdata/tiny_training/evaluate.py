"""Measures the stored weights by task, on examples that training never saw, and prints the table.

python evaluate.py ../tiny --count 300 --all-sums
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from asking import Asker, Messages
from checks import check_training_form
from stories import with_article
from tasks import CLOSED_TASKS, any_turn, person
from tools import QUESTIONS, offer, tool_turn
from wordlists import SUBJECTS, SYSTEM_PROMPTS

Score = tuple[int, int]
Scores = dict[str, Score]


class Evaluation:
    def __init__(self, asker: Asker, count: int) -> None:
        self.asker, self.count = asker, count
        self.scores: Scores = {}
        self.answers: dict[str, list[str]] = {}

    def rng(self, task: str) -> random.Random:
        return random.Random(f"held-out:{task}")

    def note(self, task: str, got: list[str], wanted: list[str]) -> None:
        pairs = list(zip(got, wanted, strict=True))
        self.scores[task] = (sum(a == b for a, b in pairs), len(pairs))
        self.answers[task] = got
        wrong = [f"{a!r}, not {b!r}" for a, b in pairs if a != b][:4]
        print(f"{task}: {self.scores[task][0]} of {len(pairs)} {' | '.join(wrong)}", flush=True)

    def closed(self, *, thinking: bool) -> None:
        """Each closed task by itself; with thinking, a thought must come first."""
        for name, task in CLOSED_TASKS.items():
            rng = self.rng(name)
            turns = [task(rng, "test") for _ in range(self.count)]
            replies = self.asker.ask([t.question for t in turns], thinking=thinking)
            if not thinking:
                self.note(name, [r.text for r in replies], [t.answer for t in turns])
                continue
            thought = [r.text.removeprefix("<think>").partition("</think>") for r in replies]
            self.note(
                f"{name}, thinking",
                [answer for _, _, answer in thought],
                [t.answer for t in turns],
            )

    def all_sums(self, step: int) -> None:
        pairs = [divmod(at, 100) for at in range(0, 10_000, step)]
        replies = self.asker.ask([f"What is {a} + {b}?" for a, b in pairs], 8)
        name = "all sums" if step == 1 else f"sums, one in {step}"
        self.note(name, [r.text for r in replies], [str(a + b) for a, b in pairs])

    def tools(self) -> None:
        """The right call for a question, and the answer once the tool has replied."""
        rng, prompts, calls, follow_ups, turns = self.rng("tools"), [], [], [], []
        for _ in range(self.count):
            offered = offer(rng, rng.randint(1, 3), "test")
            turn, specs = (
                tool_turn(rng, "test", rng.choice(offered)),
                [tool.spec() for tool in offered],
            )
            messages: Messages = [{"role": "user", "content": turn.question}]
            prompts.append(self.asker.prompt(messages, tools=specs))
            function = {"name": turn.tool.name, "arguments": turn.arguments}
            messages.append(
                {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
            )
            messages.append({"role": "tool", "content": turn.result})
            follow_ups.append(self.asker.prompt(messages, tools=specs))
            calls.append(json.dumps(function))
            turns.append(turn)
        start, end = self.asker.tokenizer.tool_call_start, self.asker.tokenizer.tool_call_end
        got = []
        for reply in self.asker.complete(prompts, 80):
            body = reply.text.removeprefix(start).removesuffix(end)
            try:
                got.append(json.dumps(self.asker.tokenizer.tool_parser(body, None)))
            except ValueError:
                got.append(reply.text)
        self.note("tool call", got, calls)
        self.note(
            "tool answer",
            [r.text for r in self.asker.complete(follow_ups, 80)],
            [t.answer for t in turns],
        )
        topics = [t for t in QUESTIONS if t != "add"]
        chosen = [rng.choice(topics) for _ in range(self.count)]
        asked = [
            QUESTIONS[t][0].format(x=rng.choice(("Paris", "Oslo", "Rome"))) for t in chosen
        ]
        self.note(
            "no tool offered",
            [r.text for r in self.asker.ask(asked)],
            ["I do not know."] * len(asked),
        )

    def chats(self, turns: int = 10) -> None:
        """Chats of ten turns, with a name told first and asked for last; every prompt must extend the last."""
        rng, end = self.rng("chats"), self.asker.tokenizer.eos_token_id
        chats: list[Messages] = []
        right = [0] * turns
        for at in range(max(8, self.count // 6)):
            system = {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}
            chats.append([system] if at % 2 else [])
        names = [person(rng, "test") for _ in chats]
        extended = 0
        before: list[list[int]] = [[] for _ in chats]
        for at in range(turns):
            wanted = []
            for chat, name in zip(chats, names, strict=True):
                turn = any_turn(rng, "test")
                question, answer = turn.question, turn.answer
                if at in (0, turns - 1):
                    question, answer = (
                        (f"My name is {name}.", f"Nice to meet you, {name}.")
                        if at == 0
                        else ("What is my name?", name)
                    )
                chat.append({"role": "user", "content": question})
                wanted.append(answer)
            prompts = [self.asker.prompt(chat) for chat in chats]
            extended += sum(p[: len(b)] == b for p, b in zip(prompts, before, strict=True))
            replies = self.asker.complete(prompts, 64)
            before = [[*r.prompt, *r.tokens, end] for r in replies]
            for chat, reply in zip(chats, replies, strict=True):
                chat.append({"role": "assistant", "content": reply.text})
            right[at] = sum(r.text == w for r, w in zip(replies, wanted, strict=True))
        self.scores["ten-turn chats"] = (sum(right), turns * len(chats))
        self.scores["prompt extends the last"] = (extended, turns * len(chats))
        print(
            f"ten-turn chats, right by turn of {len(chats)}: {right}; extending prompts: {extended}",
            flush=True,
        )

    def stories(self) -> None:
        """Stories must end by themselves after 150 tokens or more, with 20 distinct ones in the first 64."""
        requests = [f"Tell me a story about {with_article(subject)}." for subject in SUBJECTS]
        replies = self.asker.ask(requests, 400)
        raw = self.asker.complete([self.asker.tokenizer.encode(r) for r in requests], 400)
        for name, got in (("story", replies), ("raw story", raw)):
            fine = sum(
                r.ended
                and len(r.tokens) >= 150
                and len(set(r.tokens[:64])) >= 20
                and f" {subject}" in r.text
                for r, subject in zip(got, SUBJECTS, strict=True)
            )
            self.scores[name] = (fine, len(got))
            self.answers[name] = [r.text for r in got]
            lengths = [len(r.tokens) for r in got]
            print(
                f"{name}: {fine} of {len(got)}, {min(lengths)} to {max(lengths)} tokens, cat {lengths[0]}",
                flush=True,
            )
        print(f"cat: {replies[0].text}", flush=True)


def table(scores: Scores) -> str:
    lines = ["| task | right | of | accuracy |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {name} | {right} | {of} | {right / of:.1%} |"
        for name, (right, of) in scores.items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=300, help="held-out examples per task")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--sum-step", type=int, default=33, help="1: all 10,000 sums; n: every nth"
    )
    parser.add_argument("--answers", type=Path, help="where the replies are written")
    options = parser.parse_args()
    evaluation = Evaluation(Asker(options.folder, batch=options.batch), options.count)
    check_training_form(options.folder, evaluation.asker.tokenizer)
    parts: list[Callable[[], None]] = [
        lambda: evaluation.closed(thinking=False),
        lambda: evaluation.all_sums(options.sum_step),
        evaluation.tools,
        evaluation.chats,
        evaluation.stories,
        lambda: evaluation.closed(thinking=True),
    ]
    begun = time.monotonic()
    for part in parts:
        part()
        if options.answers:
            options.answers.write_text(json.dumps(evaluation.answers, indent=0))
    print(table(evaluation.scores))
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
