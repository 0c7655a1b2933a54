"""How the host reaches the guest: commands over WinRM, files over SFTP."""
