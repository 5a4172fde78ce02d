"""Folds modules into others: python fold.py ROOT FOLDS   (lines `path.py<TAB>into.py`)."""
from __future__ import annotations
import ast, os, subprocess, sys
sys.path.insert(0, os.path.dirname(__file__))
from scopes import Analysis
root, table = sys.argv[1:3]
os.chdir(root)
folds = [l.rstrip("\n").split("\t")[:2] for l in open(table) if l.strip()]
def mod(path): return path[:-3].replace("/", ".").removesuffix(".__init__")
def split(path):
    text = open(path, encoding="utf-8").read(); tree = ast.parse(text); lines = text.split("\n")
    doc = ast.get_docstring(tree, clean=False)
    n = 0; body = tree.body
    if doc is not None: n = 1
    last = body[0].end_lineno if doc is not None else 0
    docs = "\n".join(lines[:last])
    imports = []
    i = n
    while i < len(body) and (isinstance(body[i], (ast.Import, ast.ImportFrom)) or isinstance(body[i], ast.If) and ast.unparse(body[i].test) == "TYPE_CHECKING"):
        s = body[i]
        start = s.lineno
        imports.append(("\n".join(lines[start-1:s.end_lineno]), s))
        i += 1
    endimp = body[i-1].end_lineno if i else 0
    rest = "\n".join(lines[endimp:]).strip("\n")
    return doc, docs, imports, rest, Analysis(text, mod(path))
for a, b in folds:
    da, _, ia, ra, aa = split(a); db, docb, ib, rb, ab = split(b)
    ma, mb = mod(a), mod(b)
    names_a = {n for n in aa.module.bindings if n not in aa.module.imports}
    names_b = {n for n in ab.module.bindings if n not in ab.module.imports}
    def bind_of(an, n):
        return next((s for s in an.tree.body if getattr(s, "name", None) == n or isinstance(s, ast.Assign) and any(getattr(t, "id", None) == n for t in s.targets) or isinstance(s, ast.AnnAssign) and getattr(s.target, "id", None) == n), None)
    for n in sorted(names_a & names_b):
        x, y = bind_of(aa, n), bind_of(ab, n)
        if x is not None and y is not None and ast.unparse(x) == ast.unparse(y):
            seg = "\n".join(aa.text.split("\n")[x.lineno-1:x.end_lineno])
            assert ra.count(seg) >= 1; ra = ra.replace(seg, "", 1); print("SAME", a, b, n)
        else: print("COLLISION", a, b, n, x and ast.unparse(x)[:70], "|", y and ast.unparse(y)[:70])
    # a name that one imports from elsewhere and the other defines
    x = {n: v for n, v in ab.module.imports.items() if n in names_a and v[0] != ma} | {n: v for n, v in aa.module.imports.items() if n in names_b and v[0] != mb}
    if x: print("IMPORTCLASH", a, b, x)
    for n in set(aa.module.imports) & set(ab.module.imports):
        if aa.module.imports[n] != ab.module.imports[n]: print("IMPORTDIFF", a, b, n, aa.module.imports[n], ab.module.imports[n])
    b_first = any(isinstance(s, ast.ImportFrom) and s.module == mb for _, s in ia)
    keep = []
    for (t, s), other in [(x, ma) for x in ib] + [(x, mb) for x in ia]:
        if isinstance(s, ast.ImportFrom) and s.module == other:
            for al in s.names:
                if al.asname and al.asname != al.name: print("ALIAS", a, b, al.name, al.asname)
            continue
        if isinstance(s, ast.ImportFrom) and s.module and any(f"{s.module}.{al.name}" == other for al in s.names):
            print("MODULEUSE", a, b, ast.unparse(s))
        if t not in keep and not (t.startswith("from __future__")): keep.append(t)
    for t, s in ia + ib:
        if isinstance(s, ast.If): print("TYPE_CHECKING", a, b)
    head = "\n".join("# " + l if l else "#" for l in (da or "").strip().split("\n\n")[0].split("\n"))
    parts = [rb, head + "\n\n\n" + ra] if b_first else [head + "\n\n\n" + ra, rb]
    text = docb + "\n\nfrom __future__ import annotations\n\n" + "\n".join(keep) + "\n\n\n" + "\n\n\n".join(parts) + "\n"
    open(b, "w", encoding="utf-8").write(text)
    subprocess.run(["git", "rm", "-qf", a], check=True)
