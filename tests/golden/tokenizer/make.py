"""More texts than tokenizer.json has, drawn at random, with what BertTokenizerFast makes of them: python make.py (writes more.json)"""
import json
import os
import random

from transformers import BertTokenizerFast

here = os.path.dirname(os.path.abspath(__file__))
r = random.Random(7)
vocab = [w for w in open(os.path.join(here, "vocab_wide.txt"), encoding="utf-8").read().split("\n") if w]
odd = list("\t\n\r \u00a0\u2028\u3000\u200b\u00ad\ufeff\ufffd\u0000\u0007\u0085éÉñÅİıßſﬁΣς\u0301\u0327가か漢㐀豈𠀀—…“”¿€£©°²½№'!?.,-_#[](){}<>@$%^&*+=|~`") + ["[CLS]", "[SEP]", "[MASK]", "[cls]", "[DEC]", "[", "]]"]


def text():
    words = [w.removeprefix("##") for w in r.choices(vocab[5:], k=r.randint(0, 9))]
    words = [w.upper() if r.random() < 0.2 else w for w in words]
    return "".join(w + r.choice([" ", " ", " ", "", r.choice(odd), r.choice(odd) + " "]) for w in words)


cases = []
for name in ("vocab.txt", "vocab_wide.txt"):
    fast = BertTokenizerFast(vocab_file=os.path.join(here, name))
    for _ in range(200):
        t = text()
        ids = fast(t)["input_ids"]
        cut = fast(t, truncation=True, max_length=8)["input_ids"]
        cases.append({"vocab": name, "text": t, "ids": ids, "truncated_8": cut, "decoded": fast.decode(ids, skip_special_tokens=True)})
json.dump(cases, open(os.path.join(here, "more.json"), "w"), ensure_ascii=True)
