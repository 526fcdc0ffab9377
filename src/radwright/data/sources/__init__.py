"""One file per dataset layout: files on disk to studies."""
