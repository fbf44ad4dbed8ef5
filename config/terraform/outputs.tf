output "role_arn" {
  description = "The role of the daemon."
  value       = aws_iam_role.daemon.arn
}

output "instance_profile_name" {
  description = "The instance profile for the machine that the daemon runs on, in the mode \"role\"."
  value       = one(aws_iam_instance_profile.daemon[*].name)
}

output "service_name" {
  description = "The ECS service of the daemon, in the mode \"service\"."
  value       = one(aws_ecs_service.daemon[*].name)
}

output "log_group_name" {
  description = "The log of the daemon, in the mode \"service\"."
  value       = one(aws_cloudwatch_log_group.daemon[*].name)
}

output "queue_url" {
  description = "The queue, for the configuration, [aws.default] queue."
  value       = one(aws_sqs_queue.pushes[*].url)
}

output "dead_letter_queue_url" {
  description = "Events that could not be delivered or read. It is empty as long as all is well."
  value       = one(aws_sqs_queue.dead_letters[*].url)
}

output "table_name" {
  description = "The table, for the configuration, [state] table."
  value       = one(aws_dynamodb_table.state[*].name)
}
