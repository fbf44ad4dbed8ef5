#!/usr/bin/env python3
"""Makes described.json: a task definition with every member that the service's own model knows, and invented ones at every level.

    pip download --no-deps botocore, unpack it, and run: generate.py botocore/data/ecs/2014-11-13/service-2.json.gz > described.json
"""

import gzip
import itertools
import json
import sys

SERIAL = itertools.count(1)
INVENTED = {"deep": [1, -2.5, None, True, {"é": "\u2028"}], "empty": {}, "none": []}


def value(model, name, path):
    shape = model["shapes"][name]
    kind = shape["type"]
    number = next(SERIAL)
    if kind == "structure":
        filled = {member: value(model, of["shape"], path + [member]) for member, of in shape["members"].items()}
        return {**filled, f"inventedMember{number}": INVENTED}
    if kind == "list":
        return [value(model, shape["member"]["shape"], path + [str(index)]) for index in range(2)]
    if kind == "map":
        return {f"key {number}.{index}": value(model, shape["value"]["shape"], path) for index in range(2)}
    if kind == "string":
        choices = shape.get("enum")
        return choices[number % len(choices)] if choices else f"text {number} \"\\\n\t/ü"
    if kind == "boolean":
        return number % 2 == 0
    if kind == "integer":
        return -2147483648 if number % 5 == 0 else number
    if kind == "long":
        return 9223372036854775807
    if kind in ("double", "float"):
        return number + 0.1
    if kind == "timestamp":
        return 1763812800.123
    raise SystemExit(f"{'/'.join(path)}: what is a {kind}?")


def main():
    with gzip.open(sys.argv[1]) as file:
        model = json.load(file)
    answer = value(model, "DescribeTaskDefinitionResponse", [])
    definition = answer["taskDefinition"]
    arn = "arn:aws:ecs:eu-west-1:111111111111:task-definition/whole:41"
    definition.update({"taskDefinitionArn": arn, "family": "whole", "revision": 41, "status": "ACTIVE"})
    definition["containerDefinitions"][0]["image"] = "111111111111.dkr.ecr.eu-west-1.amazonaws.com/hello:latest"
    definition["containerDefinitions"][1]["image"] = "envoy:1"
    for number, container in enumerate(definition["containerDefinitions"]):
        container["name"] = f"container-{number}"
    answer["tags"] = [{"key": "team", "value": "web"}, {"key": "aws:cloudformation:stack-name", "value": "x"}]
    json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
