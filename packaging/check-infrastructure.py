"""Compares the Terraform module with the CloudFormation template: the same resources, parameters and outputs. Parses both for real.

Wants PyYAML and python-hcl2; packaging/test-infrastructure brings them.
"""

import re
import sys
from pathlib import Path

import hcl2
import yaml

CONFIG = Path(__file__).resolve().parent.parent / "config"

# What Terraform's provider calls CloudFormation's types, and how often the template has each.
TYPES = {
    "AWS::IAM::Role": "aws_iam_role",
    "AWS::IAM::Policy": "aws_iam_role_policy",
    "AWS::IAM::InstanceProfile": "aws_iam_instance_profile",
    "AWS::Logs::LogGroup": "aws_cloudwatch_log_group",
    "AWS::EC2::SecurityGroup": "aws_security_group",
    "AWS::EFS::FileSystem": "aws_efs_file_system",
    "AWS::EFS::AccessPoint": "aws_efs_access_point",
    "AWS::EFS::MountTarget": "aws_efs_mount_target",
    "AWS::ECS::TaskDefinition": "aws_ecs_task_definition",
    "AWS::ECS::Service": "aws_ecs_service",
    "AWS::SQS::Queue": "aws_sqs_queue",
    "AWS::SQS::QueuePolicy": "aws_sqs_queue_policy",
    "AWS::Events::Rule": "aws_cloudwatch_event_rule",
    "AWS::DynamoDB::Table": "aws_dynamodb_table",
}
# What is a property of something else in CloudFormation.
PARTS = {"aws_iam_role_policy_attachment", "aws_efs_backup_policy", "aws_cloudwatch_event_target"}
# Where the two differ on purpose: a stack has a name of its own, and a list of subnets cannot be gone through in a template.
ONLY_HERE = {"name", "subnet_ids"}
ONLY_THERE = {"subnet_a", "subnet_b"}

failures = []


def check(what, ours, theirs):
    """Notes a difference."""
    if ours != theirs:
        failures.append(f"{what}: only in Terraform {sorted(ours - theirs)}, only in CloudFormation {sorted(theirs - ours)}")


def snake(name):
    """A name as Terraform writes it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def template():
    """The template, with its short forms of functions read as what they hold."""

    class Loader(yaml.SafeLoader):
        pass

    def function(loader, _suffix, node):
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_mapping(node, deep=True)

    Loader.add_multi_constructor("!", function)
    return yaml.load((CONFIG / "cloudformation/ecs-deployd.yaml").read_text(), Loader)


def module():
    """All blocks of the module's files, by kind."""
    blocks = {}
    for path in sorted((CONFIG / "terraform").glob("*.tf")):
        with path.open() as file:
            for kind, found in hcl2.load(file).items():
                if isinstance(found, list):
                    blocks.setdefault(kind, []).extend(found)
    return blocks


def unquoted(names):
    """Newer releases of the parser keep the quotes of labels."""
    return {name.strip('"') for name in names if not name.startswith("__")}


def labels(blocks, kind):
    return set().union(*(unquoted(block) for block in blocks.get(kind, [])))


def references(value):
    """Every text in a parsed file."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from references(below)
            yield str(key)
    elif isinstance(value, list):
        for below in value:
            yield from references(below)
    else:
        yield str(value)


def main():
    there, here = template(), module()
    types = {TYPES[resource["Type"]] for resource in there["Resources"].values()}
    check("resources", labels(here, "resource") - PARTS, types)
    variables = labels(here, "variable")
    check("parameters", variables - ONLY_HERE, {snake(name) for name in there["Parameters"]} - ONLY_THERE)
    check("outputs", labels(here, "output"), {snake(name) for name in there["Outputs"]})

    declared = {
        f"{kind}.{name}"
        for block in here["resource"]
        for kind in unquoted(block)
        for name in unquoted(block.get(kind, block.get(f'"{kind}"')))
    }
    text = "\n".join(references(here))
    used = set(re.findall(r"\b(aws_[a-z_]+\.[a-z_]+)", text)) - set(re.findall(r"\bdata\.(aws_[a-z_]+\.[a-z_]+)", text))
    if used - declared:
        failures.append(f"Terraform names resources that it does not have: {sorted(used - declared)}")
    named = set(re.findall(r"\bvar\.([a-z_]+)", text))
    check("variables that are used", named, variables)

    # Every policy, whole: the actions that are allowed are the same.
    actions = re.compile(r"\b(?:sqs|ssm|secretsmanager|elasticfilesystem|sts):[A-Z][A-Za-z]+")
    check("actions", set(actions.findall(text)), set(actions.findall("\n".join(references(there["Resources"])))))

    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{len(types)} kinds of resources, {len(variables)} variables, {len(labels(here, 'output'))} outputs compared")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
