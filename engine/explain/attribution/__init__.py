"""Attribution methods for a plain classifier, one file each; the registry builds one by its name."""
