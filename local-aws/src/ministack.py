# Runs MiniStack and ends with its parent: the parent holds the other end of stdin, and however it
# dies, the kernel closes that end.
#
# MiniStack knows the actions and resources of few requests. So a request of the program under test, told by the name
# that it puts into its user agent, is judged here by the policies of the program's part that sends it, told by its
# execution environment: the files "PART.policy" and "PART.ACCOUNT.policy". What was refused is written into the file "denied".
#
# Without a Docker engine a task of MiniStack runs for ever, and it knows no client tokens. So a task that
# the program under test starts exits here after a second: with the code N if its command is "exit N", never
# if its command is "hang", else with 0. And the same client token starts nothing twice.
import json
import os
import sys
import threading

import ministack.app
from ministack.core.responses import request_scope
from ministack.services import ecr, ecs

CALLER = "app/ecs-deployd"
# What a person does is no call of the program under test: it is recorded as those of the Client are.
PERSON, OF_OTHERS = "person", b"local-aws"


def leave_with_the_parent():
    while os.read(0, 4096):
        pass
    os._exit(0)


def refusal(headers, action, resource):
    message = (
        f"User: arn:aws:sts::111111111111:assumed-role/test is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action"
    )
    if "x-amz-target" in headers:
        return 400, "application/x-amz-json-1.1", json.dumps({"__type": "AccessDeniedException", "message": message})
    if action.startswith("scheduler:"):
        return 403, "application/json", json.dumps({"__type": "AccessDeniedException", "Message": message})
    error = f"<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>"
    return 403, "text/xml", f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"


# What was answered to RunTask, with the request, by client token.
STARTED = {}


def definition_of(named, account, region):
    """The task definition of that ARN, or the latest of that family."""
    with request_scope(account, region):
        return ecs._task_defs.get(ecs._resolve_td_key(named)) or {}


def end_task(account, region, arn, code):
    with request_scope(account, region):
        task = ecs._tasks.get(arn)
        if task:
            ecs._mark_task_stopped(
                arn, task, "Essential container in task exited", "EssentialContainerExited", exit_code=code
            )


def code_of(request):
    """What a task exits with; None if it never does."""
    overrides = request.get("overrides", {}).get("containerOverrides", [])
    command = overrides[0].get("command", []) if overrides else []
    if command[:1] == ["hang"]:
        return None
    return int(command[1]) if command[:1] == ["exit"] else 0


async def run_task(app, headers, body, scope, receive, send):
    request = json.loads(body)
    token = request.get("clientToken")
    first, messages = STARTED.get(token, (None, []))
    if first is not None and first != request:
        conflict = json.dumps({"__type": "ConflictException", "message": "the clientToken is in use"})
        return await reply(send, 400, "application/x-amz-json-1.1", conflict)
    if first is None:

        async def keep(message):
            messages.append(message)

        await app(scope, receive, keep)
        content = b"".join(message.get("body", b"") for message in messages)
        if messages[0].get("status") == 200 and token:
            STARTED[token] = (request, messages)
        account, _, region = headers["authorization"].split("Credential=")[1].split("/")[:3]
        code = code_of(request)
        for task in json.loads(content).get("tasks", []) if code is not None else []:
            timer = threading.Timer(1.0, end_task, (account, region, task["taskArn"], code))
            timer.daemon = True
            timer.start()
    for message in messages:
        await send(message)


def enforcing(app):
    async def enforced(scope, receive, send):
        headers = {name.decode().lower(): value.decode() for name, value in scope.get("headers", [])}
        agent = f"{headers.get('user-agent', '')} {headers.get('x-amz-user-agent', '')}"
        ours = CALLER in agent
        if scope["type"] != "http" or not ours:
            return await app(scope, receive, send)
        if part_of(agent) == PERSON:
            kept = [header for header in scope["headers"] if header[0].lower() != b"user-agent"]
            scope = {**scope, "headers": [*kept, (b"user-agent", OF_OTHERS)]}
        messages, body = [], b""
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            body += messages[-1].get("body", b"")
        refused = denied(headers, scope["method"], scope["path"], scope["query_string"].decode(), body)
        if refused is None:

            async def again():
                return messages.pop(0) if messages else await receive()

            if headers.get("x-amz-target", "").endswith(".RunTask"):
                return await run_task(app, headers, body, scope, again, send)
            if headers.get("x-amz-target", "").startswith("AmazonEC2ContainerRegistry"):
                answer = inspected(headers["x-amz-target"].rsplit(".", 1)[-1], json.loads(body), *caller(headers))
                if answer is not None:
                    return await reply(send, answer[0], "application/x-amz-json-1.1", json.dumps(answer[1]))
            return await app(scope, again, send)
        with open("denied", "a") as file:
            file.write(of_refusal(refused, headers))
        await reply(send, *refusal(headers, *refused))

    return enforced


async def reply(send, status, kind, text):
    content = text.encode()
    head = [(b"content-type", kind.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": content})


threading.Thread(target=leave_with_the_parent, daemon=True).start()
sys.argv = ["ministack"]
ministack.app.app = enforcing(ministack.app.app)
ministack.app.main()
