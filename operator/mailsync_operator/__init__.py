"""The MailSync operator: watches MailSyncs and runs one Job a pass for each."""
