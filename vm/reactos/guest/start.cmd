@echo off
rem The system starts this in place of its second setup stage, and never a desktop.
rem The ports are counted as QEMU's ACPI tables list them, the last one first: the second of three is COM2.
:serve
C:\Python\python.exe C:\winvm\seriald.pyz COM2
C:\Python\python.exe -c "import time; time.sleep(1)"
goto serve
