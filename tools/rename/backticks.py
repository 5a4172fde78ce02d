"""Names in backticks in docstrings and comments follow the renames."""
import ast, io, pickle, re, subprocess, sys, tokenize, os
sys.path.insert(0, os.path.dirname(__file__))
from scopes import Analysis
root = sys.argv[1]; os.chdir(root)
R = pickle.load(open("renames.pkl","rb")); IDX = pickle.load(open(sys.argv[2],"rb"))
G, FAM, parent, per = R["G"], R["FAM"], R["parent"], R["per"]
CLS = IDX["classes"]
def root_of(x):
    while parent.get(x, x) != x: x = parent[x]
    return x
def att_new(full, name):
    for k in CLS.get(full, {}).get("mro", ()):
        if k in CLS and name in CLS[k]["own"]: return FAM.get(root_of((k, name)))
    return None
classes_new = {}
for (m, n), v in G.items():
    if n[:1].isupper() and not n.isupper(): classes_new.setdefault(n, set()).add(v[0])
attr_new = {}
for f, n in FAM.items(): attr_new.setdefault(f[1], set()).add(n)
base = {}
paths = [f for f in subprocess.run(["git","ls-files","*.py"],capture_output=True,text=True).stdout.split() if os.path.exists(f)]
DATA = set("where every for when by with key rule event to let reads once_per clear value name kind state since until run job alert alerts metric metrics fields topic time message title text".split())
changes = []
for p in paths:
    t = open(p, encoding="utf-8").read()
    try: old = Analysis(open(os.path.join(sys.argv[3], p), encoding="utf-8").read(), p[:-3].replace("/",".").removesuffix(".__init__"))
    except FileNotFoundError: continue
    new = Analysis(t, old.modname)
    if len(old.scopes) != len(new.scopes): print("scopes differ", p); continue
    by = {(c["path"], c["line"]): n for n, c in CLS.items()}
    for s in old.scopes:
        if s.kind == "class": s.full = by.get((p, s.node.lineno)) or f"{old.modname}.{s.qual}"
    spans = []   # (start, end, old scope)
    for so, sn in zip(old.scopes, new.scopes):
        if sn.kind in ("function", "class"): spans.append((sn.node.lineno, sn.node.end_lineno, so))
    pr = per.get(p, {})
    def look(scope, name, first=True):
        s = scope
        while s is not None:
            if s.kind == "function":
                n = pr.get((s.index, name))
                if n: return n
                if name in s.bindings: return None
            elif s.kind == "class":
                n = att_new(s.full, name)
                if n: return n
                if any(name in CLS[k]["own"] for k in CLS.get(s.full, {}).get("mro", ()) if k in CLS): return None
            elif s.kind == "module":
                imp = s.imports.get(name)
                if imp and imp[1]:
                    v = G.get((imp[0], imp[1]));
                    if v: return v[0]
                    c = classes_new.get(name)
                    if c and len(c) == 1: return next(iter(c))
                    return None
                v = G.get((old.modname, name))
                if v: return v[0]
                if name in s.bindings: return None
            s = s.parent
        c = classes_new.get(name)
        if c and len(c) == 1: return next(iter(c))
        return None
    def sub(scope, text):
        def one(m):
            parts = m[2].split(".")
            n0 = look(scope, parts[0])
            out = [n0 or parts[0]]
            for x in parts[1:]:
                c = classes_new.get(x) if x[:1].isupper() else None
                out.append(next(iter(c)) if c and len(c) == 1 else x)
            r = ".".join(out)
            if r != m[2]: changes.append((p, m[2], r))
            return m[1] + r + m[3]
        return re.sub(r"(`)([A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*)(\(\)`|`)", one, text)
    lines = t.split("\n"); reps = []
    doc_lines = set()
    for n in ast.walk(new.tree):
        if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str): doc_lines.add((n.value.lineno, n.value.col_offset))
    for tok in tokenize.generate_tokens(io.StringIO(t).readline):
        if tok.type == tokenize.COMMENT or tok.type == tokenize.STRING and (tok.start[0], len(lines[tok.start[0]-1][:tok.start[1]].encode())) in doc_lines:
            inside = [x for x in spans if x[0] <= tok.start[0] <= x[1]]
            scope = min(inside, key=lambda x: x[1] - x[0])[2] if inside else old.module
            n = sub(scope, tok.string)
            if n != tok.string: reps.append((tok.start, tok.end, n))
    for (sl, sc), (el, ec), n in reversed(reps):
        lines[sl-1:el] = (lines[sl-1][:sc] + n + lines[el-1][ec:]).split("\n")
    if reps and "--write" in sys.argv: open(p, "w", encoding="utf-8").write("\n".join(lines))
print(len(changes))
for c in changes: print(*c, sep="\t")
