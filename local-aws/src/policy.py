# What a policy allows: the emulator's own evaluator, told the resources and the conditions of a request, which the
# emulator reads off the requests of few services.
import contextvars
import json
import urllib.parse

from ministack.core import iam_evaluator, responses

# What AWS denies to nobody.
FREE = {"sts:GetCallerIdentity"}


def policy_of(part):
    """The policy of a part of the program; None if there is none, and so everything is allowed."""
    try:
        with open(f"{part}.policy") as file:
            return iam_evaluator.parse_policy_document(file.read())
    except FileNotFoundError:
        return None


def caller(headers):
    """Account and Region."""
    key, _, region = headers["authorization"].split("Credential=")[1].split("/")[:3]

    def account():
        responses.set_request_account_id(key)
        return responses.get_account_id()

    return contextvars.copy_context().run(account), region


def members(headers, body):
    """The members of a request, whichever its protocol."""
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {name: values[0] for name, values in urllib.parse.parse_qs(body.decode()).items()}
    try:
        return json.loads(body or "{}")
    except ValueError:
        return {}


def last(name_or_arn):
    return name_or_arn.rsplit("/", 1)[-1]


def resources(action, request, account, region):
    """The resources that an action needs a permission on (Service Authorization Reference); None if it is not known here."""

    def arn(service, resource, owner=account):
        return resource if resource.startswith("arn:") else f"arn:aws:{service}:{region}:{owner}:{resource}"

    def role(named):
        return named if named.startswith("arn:") else f"arn:aws:iam::{account}:role/{named}"

    cluster = last(request.get("cluster", "default"))
    services = request.get("services") or [request[key] for key in ["service"] if key in request]
    match action:
        case "cloudtrail:LookupEvents" | "tag:GetResources" | "ecs:ListTasks" | "ecs:DescribeTaskDefinition":
            return ["*"]
        case "ecs:ListClusters" | "ecs:ListServices" | "ecr:DescribeRepositories" | "ecr:GetLifecyclePolicy":
            return ["*"]
        case "inspector2:ListFindings" | "inspector2:ListCoverage":
            return ["*"]
        case "ecs:DescribeServices" | "ecs:UpdateService" | "ecs:ListServiceDeployments":
            return [arn("ecs", f"service/{cluster}/{last(service)}") for service in services]
        case "ecs:UpdateExpressGatewayService":
            return [request["serviceArn"]]
        case "ecs:DescribeServiceRevisions":
            return request["serviceRevisionArns"]
        case "ecs:DescribeServiceDeployments":
            return request["serviceDeploymentArns"]
        case "ecs:StopServiceDeployment" | "ecs:ContinueServiceDeployment":
            return [request["serviceDeploymentArn"]]
        case "ecs:DescribeTasks":
            return [arn("ecs", f"task/{cluster}/{last(task)}") for task in request["tasks"]]
        case "ecs:StopTask":
            return [arn("ecs", f"task/{cluster}/{last(request['task'])}")]
        case "ecs:RunTask":
            return [arn("ecs", f"task-definition/{last(request['taskDefinition'])}")]
        case "ecs:RegisterTaskDefinition":
            return [arn("ecs", f"task-definition/{request['family']}:*")]
        case "ecs:TagResource" if "family" in request:
            return [arn("ecs", f"task-definition/{request['family']}:*")]
        case "ecs:TagResource" if "taskDefinition" in request:
            return [arn("ecs", f"task/{cluster}/*")]
        case "iam:PassRole":
            return [role(request[key]) for key in ["taskRoleArn", "executionRoleArn"] if request.get(key)]
        case "ecr:BatchGetRepositoryScanningConfiguration":
            return [arn("ecr", f"repository/{name}") for name in request["repositoryNames"]]
        case _ if action.startswith("ecr:"):
            return [arn("ecr", f"repository/{request['repositoryName']}", request.get("registryId", account))]
        case _ if action.startswith("sqs:"):
            owner, name = request["QueueUrl"].rsplit("/", 2)[-2:]
            return [arn("sqs", name, owner)]
        case "sns:Publish":
            return [request["TopicArn"]]
        case "sts:AssumeRole":
            return [request["RoleArn"]]
    return None


def conditions(action, request, account, region):
    """The condition keys that an action has in a request."""
    keys = {"iam:passedtoservice": "ecs-tasks.amazonaws.com"} if action == "iam:PassRole" else {}
    if action == "ecs:TagResource":
        keys["ecs:createaction"] = "RegisterTaskDefinition" if "family" in request else "RunTask"
    if "cluster" in request:
        keys["ecs:cluster"] = f"arn:aws:ecs:{region}:{account}:cluster/{last(request['cluster'])}"
    return keys


def denied(part, needed, headers, body):
    """The first action of these that the part's policy does not allow, and on which resource."""
    policy = policy_of(part)
    if policy is None or "authorization" not in headers:
        return None
    account, region = caller(headers)
    request = members(headers, body)
    for action in needed:
        if action in FREE:
            continue
        known = resources(action, request, account, region)
        for resource in known or ["*"]:
            context = iam_evaluator.EvalContext(
                principal_arn=f"arn:aws:sts::{account}:assumed-role/{part}/test",
                principal_type="AssumedRole",
                principal_account=account,
                action=action,
                resource_arn=resource,
                region=region,
                service_context=conditions(action, request, account, region),
            )
            judged = policy if known else anywhere(policy)
            if iam_evaluator.evaluate(context, [judged]).decision != "Allow":
                return action, resource
    return None


def anywhere(policy):
    """The policy for a request of which it is not known here what it is about."""
    return [
        iam_evaluator.ParsedStatement(one.sid, one.effect, one.actions, resources=["*"], conditions=one.conditions)
        for one in policy
    ]


