#!/usr/bin/env python3
"""Judges docs/examples, the snippets of docs/provisioning.md and docs/stripe-commands.md, the links between documents, and
whether docs/operations.md has every problem that status can name.

usage: docs.py path/to/usaged

Needs docs.requirements.txt, and cloud-init on PYTHONPATH, without which its part is left out. Prints one line and exits 0
if all is as it should be, and otherwise prints each fault and exits 1.
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jinja2
import yaml

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
PROVISIONING = ROOT / "docs/provisioning.md"
STRIPE = ROOT / "docs/stripe-commands.md"
OPERATIONS = ROOT / "docs/operations.md"
KEY = "/etc/usaged/stripe_api_key"
ENVIRONMENT = "/etc/usaged/usaged.env"
CONFIGURATION = "/etc/usaged/usaged.toml"

usaged = sys.argv[1]
scratch = tempfile.TemporaryDirectory()
faults = []
checks = 0


def expect(what, good, why):
    global checks
    checks += 1
    if not good:
        faults.append(f"{what}: {why}")


def run(what, command, text, said=None, **environment):
    """A program accepts the text as a file, and says this."""
    file = pathlib.Path(scratch.name) / "file"
    file.write_text(text)
    done = subprocess.run([*command, file], env=os.environ | environment, text=True, capture_output=True)
    answer = (done.stdout + done.stderr).strip()
    expect(what, done.returncode == 0 and said in (None, answer), answer)


def check_config(what, toml, said=None, **environment):
    run(what, ["sh", "-c", 'exec "$1" --config "$2" check-config', "sh", usaged], toml, said, **environment)


def cloud_keys():
    """What a cloud-config may hold at its top; versions of the schema before 23 let anything pass."""
    home = pathlib.Path(importlib.util.find_spec("cloudinit").origin).parent
    schema = json.loads((home / "config/schemas/schema-cloud-config-v1.json").read_text())
    parts = [schema["$defs"][part["$ref"].rsplit("/", 1)[1]] for part in schema["allOf"]]
    return {key for part in parts for key in part.get("properties", {})}


def cloud_config(what, text):
    config = yaml.safe_load(text)
    if importlib.util.find_spec("cloudinit"):
        command = [sys.executable, "-m", "cloudinit.cmd.main", "schema", "--config-file"]
        run(what, command, text)
        unknown = set(config) - cloud_keys()
        expect(what, not unknown, f"cloud-init knows no {unknown}")
    files = {file["path"]: file for file in config.get("write_files", [])}
    for path in files.keys() & {KEY, ENVIRONMENT}:
        expect(what, files[path]["permissions"] == "0600", f"{path} is open to others")
        expect(what, files[path]["owner"] == "root:root", f"{path} is not root's")
    if CONFIGURATION in files:
        lines = files[ENVIRONMENT]["content"].split()
        environment = dict(line.split("=", 1) for line in lines)
        if KEY in files:
            environment["STRIPE_API_KEY"] = files[KEY]["content"]
        said = "OK" if KEY in files else None
        check_config(f"{what}: usaged.toml", files[CONFIGURATION]["content"], said, **environment)


def ansible(directory):
    shared = yaml.safe_load((directory / "group_vars/usaged.yml").read_text())
    hosts = yaml.safe_load((directory / "inventory.yml").read_text())["usaged"]["hosts"]
    for host, own in hosts.items():
        words = shared | own
        toml, env = (jinja2.Template(words[name]).render(words) for name in ("usaged_toml", "usaged_env"))
        environment = dict(line.split("=", 1) for line in env.split())
        check_config(f"usaged.toml of {host}", toml, "OK", STRIPE_API_KEY="rk_live_REPLACE", **environment)


def snippets(document):
    for number, (kind, text) in enumerate(re.findall(r"^```(\w+)\n(.*?)^```$", document.read_text(), re.M | re.S), 1):
        what = f"{document.name}, snippet {number}"
        if kind == "yaml":
            yaml.safe_load(text)
            if text.startswith("#cloud-config\n"):
                cloud_config(what, text)
        elif kind == "toml":
            check_config(what, text)
        elif kind == "sh":
            run(what, ["bash", "-n"], text)


def anchors(document):
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document):
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path) if path else document
        expect(f"{document.name}, link {target}", there.exists(), "leads nowhere")
        if anchor and there.exists():
            expect(f"{document.name}, link {target}", anchor in anchors(there), f"{there.name} has no such heading")


def codes():
    """Every problem's code, as the source makes them; what is held has a code of its own behind `held_`."""
    word, name = r'"([a-z_]+)"', r"\b([A-Z_]+)"
    made = rf"(?:Problem::(?:needs_someone|note)|unreadable)\(\s*(?:{word}|{name})\s*,|\bcode: (?:{word}|{name}),"
    for source in sorted((ROOT / "src").rglob("*.rs")):
        if "sandbox" in source.parts or "fake" in source.parts:
            continue
        text = source.read_text().split("#[cfg(test)]")[0]
        named = dict(re.findall(r'const ([A-Z_]+): &str\s*=\s*"([a-z_]+)"', text))
        for groups in re.findall(made, text):
            code = next(filter(None, groups))
            yield named.get(code, code)
    held = (ROOT / "src/outbox/hold.rs").read_text().split("fn code(")[1].split("\n    }\n")[0]
    yield from (f"held_{code}" for code in re.findall(r'=> "([a-z_]+)"', held) if code != "subscription_ended")


def problems():
    text = OPERATIONS.read_text()
    told = {code for row in re.findall(r"^\| (`.*?) \|", text, re.M) for code in re.findall(r"`([a-z_]+)`", row)}
    made = set(codes()) - {"test"}
    expect(OPERATIONS.name, len(made) > 50, f"only {len(made)} problems were found in the source")
    expect(OPERATIONS.name, made <= told, f"does not say what to do about {sorted(made - told)}")
    expect(OPERATIONS.name, told <= made, f"says what to do about {sorted(told - made)}, which is no problem's code")


for example in sorted(EXAMPLES.rglob("*.y*ml")):
    expect(example.name, yaml.safe_load(example.read_text()), "is empty")
cloud_config("cloud-init.yaml", (EXAMPLES / "cloud-init.yaml").read_text())
ansible(EXAMPLES / "ansible")
snippets(PROVISIONING)
snippets(STRIPE)
problems()
for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
    links(document)

for fault in faults:
    print(fault, file=sys.stderr)
if faults:
    sys.exit(1)
print(f"docs: {checks} checks, and nothing to find fault with")
