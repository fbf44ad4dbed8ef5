variable "name" {
  description = "What the service, its log group and its task definition family are called."
  type        = string
  default     = "ecs-deployd"
}

variable "mode" {
  description = "\"service\" runs the daemon on Fargate; \"role\" makes only the role of the daemon and an instance profile with it, for an EC2 instance that the daemon runs on."
  type        = string
  default     = "service"

  validation {
    condition     = contains(["service", "role"], var.mode)
    error_message = "The mode is \"service\" or \"role\"."
  }
}

variable "policy_arn" {
  description = "ARN of a managed policy with what the daemon may do. Make it from the output of \"ecs-deployd iam\"."
  type        = string
}

variable "with_queue" {
  description = "Makes a queue, a rule of EventBridge that sends ECR's push events to it, and a queue for events that cannot be delivered or read. Put the output queue_url into the configuration, [aws.default] queue."
  type        = bool
  default     = false
}

variable "table_name" {
  description = "If given, a DynamoDB table of this name is made for the state, and the mode \"service\" runs two tasks, of which one is active. Put the name into the configuration, [state] table, in place of path."
  type        = string
  default     = ""
}

variable "image" {
  description = "The image of ecs-deployd, with its tag or digest. Needed for the mode \"service\"."
  type        = string
  default     = ""
}

variable "architecture" {
  description = "The processor that the image is for: X86_64 or ARM64 (Graviton)."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "The architecture is X86_64 or ARM64."
  }
}

variable "configuration" {
  description = "ARN of an SSM parameter or of a Secrets Manager secret that holds the text of the configuration. Needed for the mode \"service\". After a change of the text, deploy the service anew."
  type        = string
  default     = ""
}

variable "cluster_name" {
  description = "The name of the ECS cluster that the daemon runs in. Needed for the mode \"service\"."
  type        = string
  default     = ""
}

variable "vpc_id" {
  description = "The VPC that the daemon runs in. Needed for the mode \"service\"."
  type        = string
  default     = ""
}

variable "subnet_ids" {
  description = "Subnets of that VPC, each in an availability zone of its own, with a way to AWS's endpoints: a NAT gateway, VPC endpoints, or a public address (assign_public_ip). Needed for the mode \"service\"."
  type        = list(string)
  default     = []
}

variable "assign_public_ip" {
  description = "Whether the task gets a public address, as it needs in a public subnet. Nothing can connect to it there."
  type        = bool
  default     = false
}

variable "cpu" {
  description = "CPU units of the task. The smallest size is enough for some hundred services."
  type        = number
  default     = 256
}

variable "memory" {
  description = "Memory of the task in MiB."
  type        = number
  default     = 512
}

variable "log_retention_days" {
  description = "For how many days the log is kept."
  type        = number
  default     = 90
}
