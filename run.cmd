@echo off
rem Starts the GA3 Environment Manager from any folder: finds a Python and hands over to
rem external\bootstrap.py, which does all the rest. Twin of run. Keep the CRLF line ends.
if defined _GA3ENV_SEARCH exit /b 1
setlocal EnableExtensions DisableDelayedExpansion
set "_GA3ENV_SEARCH=1"
rem -I -S: what PYTHONHOME and the like say is not for us
set "_GA3ENV_SUITS=import sys; sys.exit(sys.version_info < (3, 11) or sys.maxsize < 2**32)"
set "_GA3ENV_VERSION="
set "_GA3ENV_PYTHON="
if defined GA3ENV_PYTHON goto given

rem The one found last time: a search starts each candidate.
if exist "%~dp0.venv\ga3env-python" set /p _GA3ENV_PYTHON=<"%~dp0.venv\ga3env-python"
if defined _GA3ENV_PYTHON if exist "%_GA3ENV_PYTHON%" goto start
set "_GA3ENV_PYTHON="
rem Not by its full path: call reads its words twice, a percent sign or ^ in it too.
pushd "%~dp0"
for /d %%p in (python\*) do call :try "%%p\python.exe"
popd
if defined _GA3ENV_PYTHON set "_GA3ENV_PYTHON=%~dp0%_GA3ENV_PYTHON%"
for %%v in (3.14 3.13 3.12 3.11) do call :try py -%%v
call :try python
if defined _GA3ENV_PYTHON goto start
set "_GA3ENV_CODE=python_missing"
set "_GA3ENV_MESSAGE=No 64-bit Python 3.11 or newer was found."
goto fail

:given
set "_GA3ENV_PYTHON=%GA3ENV_PYTHON%"
"%_GA3ENV_PYTHON%" -IS -c "%_GA3ENV_SUITS%" <nul >nul 2>nul
if %ERRORLEVEL%==0 goto start
set "_GA3ENV_CODE=python_unsuitable"
set "_GA3ENV_MESSAGE=GA3ENV_PYTHON is set, but not to a 64-bit Python 3.11 or newer."
goto fail

:start
"%_GA3ENV_PYTHON%" %_GA3ENV_VERSION% -IS "%~dp0external\bootstrap.py" %*
exit /b %ERRORLEVEL%

:try
if defined _GA3ENV_PYTHON exit /b 0
"%~1" %2 -IS -c "%_GA3ENV_SUITS%" <nul >nul 2>nul
if not %ERRORLEVEL%==0 exit /b 0
set "_GA3ENV_PYTHON=%~1"
set "_GA3ENV_VERSION=%2"
exit /b 0

:fail
set "_GA3ENV_HINT=install one (winget install Python.Python.3.12), or set GA3ENV_PYTHON to the full path of one."
echo error: %_GA3ENV_MESSAGE%>&2
echo hint: %_GA3ENV_HINT%>&2
:next
if "%~1"=="" exit /b 1
if "%~1"=="--json" goto json
shift
goto next
:json
echo {"ok": false, "error": {"code": "%_GA3ENV_CODE%", "message": "%_GA3ENV_MESSAGE%", "hint": "%_GA3ENV_HINT%"}}
exit /b 1
