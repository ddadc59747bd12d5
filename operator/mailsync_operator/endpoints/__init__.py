"""MailEndpoints: probed once for each generation of their spec, and from time to time."""
