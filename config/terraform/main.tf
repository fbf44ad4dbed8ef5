# ecs-deployd as a Fargate service, with its log group and an EFS file system for its state, or only its role; and, if wanted, a queue
# that ECR's push events come to. The same as config/cloudformation/ecs-deployd.yaml.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  is_service = var.mode == "service"
  services   = local.is_service ? 1 : 0
  queues     = var.with_queue ? 1 : 0
  tables     = var.table_name != "" ? 1 : 0
  region     = data.aws_region.current.name
  account    = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
}

# --- Roles ------------------------------------------------------------------------------------------

data "aws_iam_policy_document" "tasks_of_this_account" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:ecs:${local.region}:${local.account}:*"]
    }
  }
}

data "aws_iam_policy_document" "instances_of_this_account" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# What the daemon may do: its task role on Fargate, the role of the instance elsewhere.
resource "aws_iam_role" "daemon" {
  name_prefix        = "${var.name}-"
  description        = "What ecs-deployd may do"
  assume_role_policy = local.is_service ? data.aws_iam_policy_document.tasks_of_this_account.json : data.aws_iam_policy_document.instances_of_this_account.json
}

resource "aws_iam_role_policy_attachment" "daemon" {
  role       = aws_iam_role.daemon.name
  policy_arn = var.policy_arn
}

resource "aws_iam_instance_profile" "daemon" {
  count       = local.is_service ? 0 : 1
  name_prefix = "${var.name}-"
  role        = aws_iam_role.daemon.name
}

# What ECS may do to start the task: pull the image, write the log, read the configuration.
resource "aws_iam_role" "execution" {
  count              = local.services
  name_prefix        = "${var.name}-execution-"
  description        = "What ECS may do to start the task of ecs-deployd"
  assume_role_policy = data.aws_iam_policy_document.tasks_of_this_account.json
}

resource "aws_iam_role_policy_attachment" "execution" {
  count      = local.services
  role       = aws_iam_role.execution[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

data "aws_iam_policy_document" "read_the_configuration" {
  count = local.services

  statement {
    # Whichever of the two it is, the other action allows nothing on it.
    actions   = ["ssm:GetParameters", "secretsmanager:GetSecretValue"]
    resources = [var.configuration]
  }
}

resource "aws_iam_role_policy" "read_the_configuration" {
  count  = local.services
  name   = "read-the-configuration"
  role   = aws_iam_role.execution[0].id
  policy = data.aws_iam_policy_document.read_the_configuration[0].json
}

# --- The service ------------------------------------------------------------------------------------

resource "aws_cloudwatch_log_group" "daemon" {
  count             = local.services
  name              = "/ecs/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_security_group" "daemon" {
  count       = local.services
  name_prefix = "${var.name}-"
  description = "ecs-deployd. Nothing connects to it."
  vpc_id      = var.vpc_id

  egress {
    description = "AWS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }

  egress {
    description = "The file system"
    protocol    = "tcp"
    from_port   = 2049
    to_port     = 2049
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "file_system" {
  count       = local.services
  name_prefix = "${var.name}-state-"
  description = "The file system of ecs-deployd. Only the daemon connects to it."
  vpc_id      = var.vpc_id

  ingress {
    description     = "NFS from the daemon"
    protocol        = "tcp"
    from_port       = 2049
    to_port         = 2049
    security_groups = [aws_security_group.daemon[0].id]
  }
}

# The state: what must survive a restart. Pushes would be taken for new without it.
resource "aws_efs_file_system" "state" {
  count     = local.services
  encrypted = true

  tags = {
    Name = var.name
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_efs_backup_policy" "state" {
  count          = local.services
  file_system_id = aws_efs_file_system.state[0].id

  backup_policy {
    status = "ENABLED"
  }
}

resource "aws_efs_access_point" "state" {
  count          = local.services
  file_system_id = aws_efs_file_system.state[0].id

  # The user of the image.
  posix_user {
    uid = 65532
    gid = 65532
  }

  root_directory {
    path = "/state"

    creation_info {
      owner_uid   = 65532
      owner_gid   = 65532
      permissions = "0700"
    }
  }
}

resource "aws_efs_mount_target" "state" {
  for_each        = local.is_service ? toset(var.subnet_ids) : toset([])
  file_system_id  = aws_efs_file_system.state[0].id
  subnet_id       = each.value
  security_groups = [aws_security_group.file_system[0].id]
}

data "aws_iam_policy_document" "keep_the_state" {
  count = local.services

  statement {
    actions   = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
    resources = [aws_efs_file_system.state[0].arn]

    condition {
      test     = "StringEquals"
      variable = "elasticfilesystem:AccessPointArn"
      values   = [aws_efs_access_point.state[0].arn]
    }
  }
}

resource "aws_iam_role_policy" "keep_the_state" {
  count  = local.services
  name   = "keep-the-state"
  role   = aws_iam_role.daemon.id
  policy = data.aws_iam_policy_document.keep_the_state[0].json
}

resource "aws_ecs_task_definition" "daemon" {
  count                    = local.services
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = aws_iam_role.daemon.arn
  execution_role_arn       = aws_iam_role.execution[0].arn

  runtime_platform {
    cpu_architecture        = var.architecture
    operating_system_family = "LINUX"
  }

  container_definitions = jsonencode([
    {
      name                   = "ecs-deployd"
      image                  = var.image
      essential              = true
      user                   = "65532:65532"
      readonlyRootFilesystem = true
      stopTimeout            = 30
      environment = [
        { name = "ECS_DEPLOYD_LOG_FORMAT", value = "json" },
        { name = "AWS_REGION", value = local.region },
      ]
      secrets = [
        { name = "ECS_DEPLOYD_CONFIG_CONTENT", valueFrom = var.configuration },
      ]
      mountPoints = [
        { sourceVolume = "state", containerPath = "/var/lib/ecs-deployd", readOnly = false },
        { sourceVolume = "control", containerPath = "/run/ecs-deployd", readOnly = false },
      ]
      healthCheck = {
        command     = ["CMD", "/usr/local/bin/ecs-deployd", "health"]
        startPeriod = 30
      }
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          "awslogs-group"         = aws_cloudwatch_log_group.daemon[0].name
          "awslogs-region"        = local.region
          "awslogs-stream-prefix" = "ecs-deployd"
        }
      }
    }
  ])

  volume {
    name = "state"

    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.state[0].id
      transit_encryption = "ENABLED"

      authorization_config {
        access_point_id = aws_efs_access_point.state[0].id
        iam             = "ENABLED"
      }
    }
  }

  volume {
    name = "control"
  }
}

resource "aws_ecs_service" "daemon" {
  count           = local.services
  name            = var.name
  cluster         = var.cluster_name
  task_definition = aws_ecs_task_definition.daemon[0].arn
  launch_type     = "FARGATE"
  desired_count   = local.tables == 1 ? 2 : 1

  # A state file is one process's: the old task ends before the new one starts. Pushes made meanwhile are found afterwards. With a table
  # one task after the other is replaced.
  deployment_minimum_healthy_percent = local.tables == 1 ? 50 : 0
  deployment_maximum_percent         = local.tables == 1 ? 150 : 100

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    assign_public_ip = var.assign_public_ip
    security_groups  = [aws_security_group.daemon[0].id]
    subnets          = var.subnet_ids
  }

  lifecycle {
    precondition {
      condition     = var.image != "" && var.configuration != "" && var.cluster_name != "" && var.vpc_id != "" && length(var.subnet_ids) > 0
      error_message = "The mode \"service\" needs image, configuration, cluster_name, vpc_id and subnet_ids."
    }
  }

  depends_on = [aws_efs_mount_target.state, aws_iam_role_policy.keep_the_state]
}

# --- The table --------------------------------------------------------------------------------------
# The state of several replicas.

resource "aws_dynamodb_table" "state" {
  count        = local.tables
  name         = var.table_name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"
  range_key    = "sk"

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

data "aws_iam_policy_document" "use_the_table" {
  count = local.tables

  statement {
    actions = [
      "dynamodb:DescribeTable",
      "dynamodb:GetItem",
      "dynamodb:Query",
      "dynamodb:PutItem",
      "dynamodb:DeleteItem",
      "dynamodb:ConditionCheckItem",
    ]
    resources = [aws_dynamodb_table.state[0].arn]
  }
}

resource "aws_iam_role_policy" "use_the_table" {
  count  = local.tables
  name   = "use-the-table"
  role   = aws_iam_role.daemon.id
  policy = data.aws_iam_policy_document.use_the_table[0].json
}

# --- The queue --------------------------------------------------------------------------------------
# Pushes within seconds. CloudTrail is read as well, as the net below.

resource "aws_sqs_queue" "dead_letters" {
  count                     = local.queues
  name_prefix               = "${var.name}-dead-letters-"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue" "pushes" {
  count                      = local.queues
  name_prefix                = "${var.name}-"
  sqs_managed_sse_enabled    = true
  message_retention_seconds  = 345600
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 60

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[0].arn
    maxReceiveCount     = 20
  })
}

resource "aws_cloudwatch_event_rule" "pushes" {
  count       = local.queues
  name_prefix = "${var.name}-"
  description = "Images that were pushed to ECR, for ecs-deployd"

  event_pattern = jsonencode({
    source      = ["aws.ecr"]
    detail-type = ["ECR Image Action"]
    detail      = { action-type = ["PUSH"], result = ["SUCCESS"] }
  })
}

resource "aws_cloudwatch_event_target" "pushes" {
  count     = local.queues
  rule      = aws_cloudwatch_event_rule.pushes[0].name
  target_id = "ecs-deployd"
  arn       = aws_sqs_queue.pushes[0].arn

  dead_letter_config {
    arn = aws_sqs_queue.dead_letters[0].arn
  }
}

data "aws_iam_policy_document" "push_events_of_the_rule" {
  for_each = var.with_queue ? { pushes = aws_sqs_queue.pushes[0].arn, dead_letters = aws_sqs_queue.dead_letters[0].arn } : {}

  statement {
    sid       = "PushEventsOfTheRule"
    actions   = ["sqs:SendMessage"]
    resources = [each.value]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.pushes[0].arn]
    }
  }
}

resource "aws_sqs_queue_policy" "pushes" {
  count     = local.queues
  queue_url = aws_sqs_queue.pushes[0].id
  policy    = data.aws_iam_policy_document.push_events_of_the_rule["pushes"].json
}

resource "aws_sqs_queue_policy" "dead_letters" {
  count     = local.queues
  queue_url = aws_sqs_queue.dead_letters[0].id
  policy    = data.aws_iam_policy_document.push_events_of_the_rule["dead_letters"].json
}

data "aws_iam_policy_document" "read_the_queue" {
  count = local.queues

  statement {
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"]
    resources = [aws_sqs_queue.pushes[0].arn]
  }
}

resource "aws_iam_role_policy" "read_the_queue" {
  count  = local.queues
  name   = "read-the-queue"
  role   = aws_iam_role.daemon.id
  policy = data.aws_iam_policy_document.read_the_queue[0].json
}
