# What a policy allows: the emulator's own evaluator, told the resources and the conditions of a request, which the
# emulator reads off the requests of few services.
import contextvars
import json
import urllib.parse

from ministack.core import iam_evaluator, responses

# What AWS denies to nobody.
FREE = {"sts:GetCallerIdentity"}
# The part that sends what names none.
DAEMON = "daemon"


def policy_of(part, account):
    """The policy that a part of the program has in an account; None if there is none, and so everything is allowed."""
    for name in [f"{part}.{account}.policy", f"{part}.policy"]:
        try:
            with open(name) as file:
                return iam_evaluator.parse_policy_document(file.read())
        except FileNotFoundError:
            pass
    return None


def actions(headers, method, path, body):
    """The IAM actions that a request needs."""
    # Credential=KEY/DATE/REGION/SERVICE/aws4_request
    service = headers.get("authorization", "").split("/aws4_request")[0].rsplit("/", 1)[-1]
    form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if "x-amz-target" in headers:
        operation = headers["x-amz-target"].rsplit(".", 1)[-1]
    elif form:
        operation = urllib.parse.parse_qs(body.decode()).get("Action", ["?"])[0]
    elif service == "scheduler":
        operation = {"GET": "GetSchedule", "PUT": "UpdateSchedule"}.get(method, method)
    else:
        operation = f"{method} {path}"
    if operation == "TransactWriteItems":
        # There is no action of that name: each part of the transaction needs its own.
        named = {"ConditionCheck": "ConditionCheckItem", "Put": "PutItem", "Delete": "DeleteItem", "Update": "UpdateItem"}
        parts = {part for item in json.loads(body)["TransactItems"] for part in item}
        return [f"{service}:{named.get(part, part)}" for part in sorted(parts)]
    # A batch needs the permission for what it has a batch of.
    if service == "sqs":
        operation = operation.removesuffix("Batch")
    # The name by which the API signs, and that of its actions.
    needed = [f"{'tag' if service == 'tagging' else service}:{operation}"]
    if operation == "RegisterTaskDefinition":
        definition = json.loads(body)
        if definition.get("taskRoleArn") or definition.get("executionRoleArn"):
            needed.append("iam:PassRole")
        if definition.get("tags"):
            needed.append("ecs:TagResource")
    if operation == "RunTask":
        needed.append("iam:PassRole")
        if json.loads(body).get("tags"):
            needed.append("ecs:TagResource")
    # Whoever writes what EventBridge carries out passes it the role for that.
    if operation in ["UpdateSchedule", "PutTargets"]:
        needed.append("iam:PassRole")
    # ECR asks Inspector in the name of who asks it (Amazon ECR User Guide, "IAM permissions required for enhanced scanning").
    if operation == "DescribeImageScanFindings" and is_enhanced(json.loads(body)):
        needed += ["inspector2:ListFindings", "inspector2:ListCoverage"]
    return needed


def part_of(agent):
    """The part of the program that sends a request."""
    named = [word.removeprefix("exec-env/") for word in agent.split() if word.startswith("exec-env/")]
    return named[0] if named else DAEMON


def caller(headers):
    """Account and Region."""
    key, _, region = headers["authorization"].split("Credential=")[1].split("/")[:3]

    def account():
        responses.set_request_account_id(key)
        return responses.get_account_id()

    return contextvars.copy_context().run(account), region


def members(headers, path, query, body):
    """The members of a request, whichever its protocol."""
    if path.startswith("/schedules/"):
        group = urllib.parse.parse_qs(query).get("groupName", ["default"])[0]
        return {"GroupName": group, **json.loads(body or "{}"), "Name": urllib.parse.unquote(last(path))}
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
            return [role(named) for named in passed(request, account, region)]
        case "ecr:BatchGetRepositoryScanningConfiguration":
            return [arn("ecr", f"repository/{name}") for name in request["repositoryNames"]]
        case _ if action.startswith("ecr:"):
            return [arn("ecr", f"repository/{request['repositoryName']}", request.get("registryId", account))]
        case _ if action.startswith("sqs:"):
            owner, name = request["QueueUrl"].rsplit("/", 2)[-2:]
            return [arn("sqs", name, owner)]
        case "scheduler:GetSchedule" | "scheduler:UpdateSchedule":
            return [arn("scheduler", f"schedule/{request['GroupName']}/{request['Name']}")]
        case "events:ListTargetsByRule" | "events:PutTargets":
            bus = request.get("EventBusName", "default")
            return [arn("events", f"rule/{request['Rule']}" if bus == "default" else f"rule/{bus}/{request['Rule']}")]
        case _ if action.startswith("dynamodb:"):
            parts = [part for item in request.get("TransactItems", []) for part in item.values()] or [request]
            return sorted({arn("dynamodb", f"table/{last(part['TableName'])}") for part in parts})
        case "sns:Publish":
            return [request["TopicArn"]]
        case "sts:AssumeRole":
            return [request["RoleArn"]]
    return None


def passed(request, account, region):
    """The roles that a request passes."""
    if "Target" in request or "Targets" in request:
        targets = request.get("Targets") or [request["Target"]]
        return [target["RoleArn"] for target in targets if target.get("RoleArn")]
    # A task has the roles of its task definition.
    names = request if "family" in request else definition_of(request["taskDefinition"], account, region)
    return [names[key] for key in ["taskRoleArn", "executionRoleArn"] if names.get(key)]


def conditions(action, request, account, region):
    """The condition keys that an action has in a request."""
    keys = {}
    if action == "iam:PassRole":
        service = "scheduler" if "Target" in request else "events" if "Targets" in request else "ecs-tasks"
        keys["iam:passedtoservice"] = f"{service}.amazonaws.com"
    if action == "ecs:TagResource":
        keys["ecs:createaction"] = "RegisterTaskDefinition" if "family" in request else "RunTask"
    if "cluster" in request:
        keys["ecs:cluster"] = f"arn:aws:ecs:{region}:{account}:cluster/{last(request['cluster'])}"
    return keys


def denied(headers, method, path, query, body):
    """The first action that a request needs and that the policy of its part does not allow, and on which resource."""
    if "authorization" not in headers:
        return None
    account, region = caller(headers)
    part = part_of(f"{headers.get('user-agent', '')} {headers.get('x-amz-user-agent', '')}")
    policy = policy_of(part, account)
    if policy is None:
        return None
    request = members(headers, path, query, body)
    for action in actions(headers, method, path, body):
        if action in FREE:
            continue
        known = resources(action, request, account, region)
        if known is None:
            return action, "what this judge does not know"
        for resource in known:
            context = iam_evaluator.EvalContext(
                principal_arn=f"arn:aws:sts::{account}:assumed-role/{part}/test",
                principal_type="AssumedRole",
                principal_account=account,
                action=action,
                resource_arn=resource,
                region=region,
                service_context=conditions(action, request, account, region),
            )
            if iam_evaluator.evaluate(context, [policy]).decision != "Allow":
                return action, resource
    return None


def of_refusal(refused, headers):
    """The line that tells of what was refused."""
    part = part_of(f"{headers.get('user-agent', '')} {headers.get('x-amz-user-agent', '')}")
    return f"{refused[0]} on {refused[1]} by {part}\n"


