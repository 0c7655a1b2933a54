@echo off
rem The system starts this in place of its second setup stage, and never a desktop.
rem The debugger holds the first serial port, so the second one is named COM1 here.
:serve
C:\Python\python.exe C:\winvm\seriald.pyz COM1
C:\Python\python.exe -c "import time; time.sleep(1)"
goto serve
