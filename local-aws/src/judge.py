# Judges requests that were sent to another server than MiniStack: JSON lines of head and body come in, what the policies in
# the working folder do not allow goes out.
import sys


def definition_of(named, account, region):
    return {}


for line in sys.stdin:
    head, body = json.loads(line)
    first, *fields = head.split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    refused = denied(headers, method, urllib.parse.unquote(path), query, body.encode())
    if refused is not None:
        sys.stdout.write(of_refusal(refused, headers))
