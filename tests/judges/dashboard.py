#!/usr/bin/env python3
"""Has Prometheus answer every query of the Grafana dashboard, and every alert rule name what to do.

usage: dashboard.py http://PROMETHEUS DASHBOARD RULES METRICS...

METRICS are files of what daemons expose, of one that is well and of one that is not: what is absent while all is well has no type
there either. Exits 1 where Prometheus takes a query for wrong, where a panel names a metric that
the daemon has not, or where a rule has no runbook.
"""

import json
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

server, dashboard, rules, *metrics = sys.argv[1:]
faults = []


def ask(expression):
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"{server}/api/v1/query?{query}", timeout=20) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        faults.append(f"{expression}: {json.load(error)['error']}")
        return []


exposed = set()
for file in metrics:
    exposed |= set(re.findall(r"^# TYPE (\w+) ", pathlib.Path(file).read_text(), re.M))

panels = json.loads(pathlib.Path(dashboard).read_text())["panels"]
queries = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
answered = 0
for title, expression in queries:
    for name in set(re.findall(r"\busaged_\w+", expression)) - exposed:
        faults.append(f"{title}: the daemon has no {name}")
    answered += bool(ask(expression.replace("$instance", ".*")))
# What is absent while all is well: deadlines, an untrue clock, and included amounts of what is unlimited.
if answered < len(queries) - 4:
    faults.append(f"only {answered} of {len(queries)} queries have an answer")

alerts = re.split(r"^ *- alert: ", pathlib.Path(rules).read_text(), flags=re.M)[1:]
for alert in alerts:
    if not re.search(r"^ *runbook: \S", alert, re.M):
        faults.append(f"{alert.splitlines()[0]} has no runbook")

for fault in faults:
    print(fault, file=sys.stderr)
if faults:
    sys.exit(1)
print(f"dashboard: {answered} of {len(queries)} queries have an answer; {len(alerts)} alerts have a runbook")
