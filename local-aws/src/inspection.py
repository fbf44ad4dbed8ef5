# What ECR says of an image's scan and signatures, as the files "scans" and "signatures" have it by digest. MiniStack
# has no words for either.


def kept(name):
    try:
        with open(name) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def inspected(operation, request, account, region):
    """Status and answer (Amazon ECR API Reference); None if the emulator itself answers."""
    name = request.get("repositoryName")
    digest = request.get("imageId", {}).get("imageDigest")
    image = {"registryId": account, "repositoryName": name, "imageId": request.get("imageId")}
    if operation == "DescribeImageScanFindings":
        scan = kept("scans").get(digest)
        if scan is None:
            told = f"{{imageId:'{digest}'}} in the repository with name '{name}' in the registry with id '{account}'"
            message = f"Image scan does not exist for the image with '{told}"
            return 400, {"__type": "ScanNotFoundException", "message": message}
        return 200, {**image, **page_of(scan, request)}
    if operation == "DescribeImageSigningStatus":
        return 200, {**image, "signingStatuses": kept("signatures").get(digest, [])}
    if operation == "BatchGetRepositoryScanningConfiguration":
        return 200, scanning(request["repositoryNames"], account, region)
    return None


def is_enhanced(request):
    scan = kept("scans").get(request.get("imageId", {}).get("imageDigest"), {})
    return "enhancedFindings" in scan.get("imageScanFindings", {})


def page_of(scan, request):
    """As many findings as are asked for; each page has the counts of all."""
    findings = scan.get("imageScanFindings")
    if findings is None:
        return scan
    kind = "enhancedFindings" if "enhancedFindings" in findings else "findings"
    first, most = int(request.get("nextToken", 0)), request.get("maxResults", 100)
    every = findings.get(kind, [])
    page = {**scan, "imageScanFindings": {**findings, kind: every[first : first + most]}}
    return {**page, "nextToken": str(first + most)} if first + most < len(every) else page


def scanning(names, account, region):
    configurations, failures = [], []
    with request_scope(account, region):
        for name in names:
            repository = ecr._repositories.get(name)
            if repository is None:
                failure = {"repositoryName": name, "failureCode": "REPOSITORY_NOT_FOUND", "failureReason": "not found"}
                failures.append(failure)
                continue
            on_push = repository["imageScanningConfiguration"]["scanOnPush"]
            configurations.append(
                {
                    "repositoryArn": repository["repositoryArn"],
                    "repositoryName": name,
                    "scanOnPush": on_push,
                    "scanFrequency": "SCAN_ON_PUSH" if on_push else "MANUAL",
                    "appliedScanFilters": [],
                }
            )
    return {"scanningConfigurations": configurations, "failures": failures}


