@echo off
rem Run from the configuration CD: by the first logon, which ends the stage of Windows Setup and switches the machine
rem off, and by the next start, which provisions. Errors are reported to the host on COM2, the journal's port.
setlocal
set HERE=%~dp0
set PORT=\\.\COM2
if exist C:\winvm\configuration.cmd goto configuration
echo {"step":"first logon","phase":"setup","state":"running"}>%PORT%
if not exist C:\winvm mkdir C:\winvm
copy /y "%HERE%configuration.cmd" C:\winvm\configuration.cmd >nul
if errorlevel 1 goto copying
rem As SYSTEM at the start: it needs neither a logon nor rights that UAC might take away.
set TASK=/tn winvm-configuration /sc onstart /delay 0000:30 /ru SYSTEM /rl highest /f
schtasks.exe /create %TASK% /tr "cmd.exe /c C:\winvm\configuration.cmd"
if errorlevel 1 goto planning
echo {"step":"setup done","phase":"end","state":"ok"}>%PORT%
rem A moment later: this command of the first logon ends before Windows does.
shutdown.exe /s /f /t 5
goto end
:configuration
rem The task that called this stays until the provisioning removes it: Windows may end what a deleted task runs.
if exist C:\winvm\provisioning goto end
echo started>C:\winvm\provisioning
echo {"step":"configuration","phase":"setup","state":"running"}>%PORT%
if exist C:\Python\python.exe goto provision
mkdir C:\Python
"%SystemRoot%\System32\tar.exe" -xf "%HERE%python.zip" -C C:\Python
if errorlevel 1 goto unpacking
:provision
C:\Python\python.exe "%HERE%provision.pyz" "%HERE%provision.json"
rem 0: done, 4: restarting. The provisioning journals every other end itself, unless Python did not start.
if %ERRORLEVEL% GEQ 0 if %ERRORLEVEL% LEQ 4 goto end
echo {"step":"configuration","phase":"end","state":"failed","message":"Python ended with %ERRORLEVEL%"}>%PORT%
goto end
:copying
echo {"step":"first logon","phase":"end","state":"failed","message":"configuration.cmd cannot be copied"}>%PORT%
goto end
:planning
echo {"step":"first logon","phase":"end","state":"failed","message":"schtasks ended with %ERRORLEVEL%"}>%PORT%
goto end
:unpacking
echo {"step":"configuration","phase":"end","state":"failed","message":"tar could not unpack python.zip"}>%PORT%
:end
endlocal
