@echo off
rem Run once by the first logon, from the configuration CD: unpacks Python and hands over to the provisioning.
rem Errors are reported to the host on COM2, the journal's port: nobody reads the screen.
setlocal
set HERE=%~dp0
set PORT=\\.\COM2
echo {"step":"first logon","phase":"setup","state":"running"}>%PORT%
if exist C:\Python\python.exe goto provision
mkdir C:\Python
"%SystemRoot%\System32\tar.exe" -xf "%HERE%python.zip" -C C:\Python
if errorlevel 1 goto unpacking
:provision
C:\Python\python.exe "%HERE%provision.pyz" "%HERE%provision.json"
rem 0: done, 4: restarting. The provisioning journals every other end itself, unless Python did not start.
if %ERRORLEVEL% GEQ 0 if %ERRORLEVEL% LEQ 4 goto end
echo {"step":"first logon","phase":"end","state":"failed","message":"Python ended with %ERRORLEVEL%"}>%PORT%
goto end
:unpacking
echo {"step":"first logon","phase":"end","state":"failed","message":"tar could not unpack python.zip"}>%PORT%
:end
endlocal
