"""How the host reaches the guest: commands over WinRM and files over SFTP, or both over a serial line."""
