; What the installer and the starter share: a Python, then the app's own environment.
; Set-up runs without a console: nsExec hides it and shows the lines that it prints.

!include TextFunc.nsh

!define STAMP "$INSTDIR\.venv\ga3env-app.stamp"
!define UNFINISHED "unfinished" ; lies in the folder while an installer writes into it
!define STANDARD_ERROR -12
!ifdef PYTHON
  !define NOT_SET_UP "The app is not set up yet: the last lines say why. Its next start goes on where this one stopped."
!else
  !define NOT_SET_UP "The app is not set up yet: its Python or its packages could not be fetched. Check the network and the proxy (HTTPS_PROXY), then open the app: it goes on where it stopped. Where there is no network, take the offline installer."
!endif

Var Python ; folder of the release's own Python; empty where there is none
Var Failed ; 1: the set-up has failed

; A sentence on the standard error stream, for whoever runs this silently from a script.
!macro Say TEXT
  System::Call 'kernel32::GetStdHandle(i ${STANDARD_ERROR}) p .r9'
  FileWrite $9 "${TEXT}$\r$\n"
!macroend

; What a release carries, or what uv has put there.
Function FindPython
  StrCpy $Python ""
!ifdef PYTHON
  ${If} ${FileExists} "$INSTDIR\python\${PYTHON}\pythonw.exe"
    StrCpy $Python "$INSTDIR\python\${PYTHON}"
    Return
  ${EndIf}
!endif
  FindFirst $0 $1 "$INSTDIR\python\cpython-${PYTHON_VERSION}*"
  ${DoUntil} $1 == ""
    ${If} ${FileExists} "$INSTDIR\python\$1\pythonw.exe"
      StrCpy $Python "$INSTDIR\python\$1"
      ${ExitDo}
    ${EndIf}
    FindNext $0 $1
  ${Loop}
  FindClose $0
FunctionEnd

; Runs a program; $0 is its exit code. A silent run passes on what it says when it fails.
!macro RunHidden COMMAND
  ${If} ${Silent}
    nsExec::ExecToStack '${COMMAND}'
    Pop $0
    Pop $1
    ${If} $0 != 0
      !insertmacro Say "$1"
    ${EndIf}
  ${Else}
    nsExec::ExecToLog '${COMMAND}'
    Pop $0
  ${EndIf}
!macroend

!macro SetVariable NAME VALUE
  System::Call 'kernel32::SetEnvironmentVariable(t "${NAME}", ${VALUE})'
!macroend

; Nobody knows how long a set-up takes: the bar runs to and fro instead of standing still.
!macro ShowRunning STYLE
  ${IfNot} ${Silent}
    FindWindow $8 "#32770" "" $HWNDPARENT
    GetDlgItem $8 $8 1004
    System::Call 'user32::SetWindowLongPtr(p r8, i ${GWL_STYLE}, p ${STYLE})'
    SendMessage $8 ${PBM_SETMARQUEE} 1 40
  ${EndIf}
!macroend
!define RUNNING 0x50000008 ; WS_CHILD, WS_VISIBLE and PBS_MARQUEE
!define STANDING 0x50000000
!define /ifndef PBM_SETMARQUEE 0x40A
!define /ifndef GWL_STYLE -16

; A Python of our own is tried first: one of the computer's may be removed or changed any day.
Function SetUp
  !define BOOTSTRAP '-IS "$INSTDIR\external\bootstrap.py" set-up'
  !define UV '"$INSTDIR\external\UV\uv.exe" --no-config --color never'
  StrCpy $Failed ""
  !insertmacro ShowRunning ${RUNNING}
  SetDetailsPrint none
  InitPluginsDir
  SetOutPath "$PLUGINSDIR" ; uv looks for projects and environments around the current folder
  !insertmacro SetVariable UV_CACHE_DIR 't "$INSTDIR\external\UV\cache"'
  SetDetailsPrint both
  Call FindPython
  ${If} $Python == ""
    DetailPrint "Getting Python ${PYTHON_VERSION} ..."
    !insertmacro RunHidden '${UV} python install ${PYTHON_VERSION} --install-dir "$INSTDIR\python" --no-bin --no-registry'
    Call FindPython
  ${EndIf}
  ${If} $Python == ""
    DetailPrint "Looking for a Python of this computer ..."
    nsExec::ExecToStack '${UV} python find --no-project --system --no-python-downloads --python-preference only-system ">=3.11,<3.15"'
    Pop $0
    Pop $1
    ${If} $0 == 0
      ${TrimNewLines} "$1" $1
      ${GetParent} "$1" $Python
    ${Else}
      DetailPrint "There is none that suits (3.11 or newer)."
    ${EndIf}
  ${EndIf}
  ${If} $Python != ""
    DetailPrint "Installing the packages of the app ..."
    !insertmacro RunHidden '"$Python\python.exe" ${BOOTSTRAP}'
  ${EndIf}
  ${If} $0 != 0
    StrCpy $Failed 1
  ${EndIf}
  SetDetailsPrint none
  ${If} $Failed == "" ; else the next start goes on with it
    RMDir /r "$INSTDIR\external\UV\cache"
  ${EndIf}
  !insertmacro SetVariable UV_CACHE_DIR 'p 0'
  SetOutPath "$INSTDIR"
  SetDetailsPrint both
  !insertmacro ShowRunning ${STANDING}
  !undef UV
  !undef BOOTSTRAP
FunctionEnd

; Starts the app with what stands in $Arguments; it comes back to the starter where a set-up is due.
!macro FunctionStartApp
  Function StartApp
    Call FindPython
    ${If} $Python == ""
    ${AndIf} ${FileExists} "$INSTDIR\.venv\Scripts\pythonw.exe"
      StrCpy $Python "$INSTDIR\.venv\Scripts"
    ${EndIf}
    ${If} $Python == "" ; else the top of the disk would be searched for one
      SetErrors
      Return
    ${EndIf}
    ClearErrors
    Exec '"$Python\pythonw.exe" -IS "$INSTDIR\external\bootstrap.py" app $Arguments'
  FunctionEnd
!macroend
