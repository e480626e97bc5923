; Installs for one user, without administrator rights, and touches nothing outside of the user's
; own folders and registry. Switches: /S silent, /DESKTOP a shortcut there, /NOSETUP leaves the
; set-up to the first start, /D=FOLDER (last).
; Exit codes: 1 cancelled, 2 broken off by a file that could not be written, 3 the app or an
; environment is in use, 4 a folder that cannot be taken, 5 installed, but the set-up is still to do,
; 6 uninstalled, but something of it could not be removed.
; The uninstaller keeps environments, weights and settings unless /REMOVEDATA is given; with /UPGRADE
; it removes the program's files only, for the installer of another version. It knows those by their
; names; as a whole it removes only folders that nobody else writes into.

Unicode true
Target amd64-unicode
ManifestDPIAware true
!include release.nsh
SetCompressor ${COMPRESSOR}
AllowSkipFiles off ; a program without one of its files is none
!include LogicLib.nsh
!include FileFunc.nsh
!include WordFunc.nsh
!include Sections.nsh
!include nsDialogs.nsh
!include MUI2.nsh
!include setup.nsh

!define KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\GA3EnvManager"
!define SIZE_OF_VENV 363000 ; KB, for the page that says how much is needed
!define DATA "$LOCALAPPDATA\GA3EnvManager"
!define IN_USE 3 ; exit codes of remove_data.py
!define NOT_ALL 6
!define PATIENCE 6 ; half seconds
!define ALREADY_EXISTS 183 ; an error of Windows
!define OPEN "${TITLE} is open or at work. Close it, then try again."
!define BROKEN_OFF "A file could not be written, so the app is not whole. Install it again."
!define FOREIGN "This folder holds other files. Choose an empty or a new one."
!define USERS_OWN "This folder is for your own files. Choose a new one in it."
!define DATA_FOLDER "Environments and weights lie in this folder. Choose another one for the app."
!define TOO_LONG "The path of this folder is too long. Choose one of at most ${LONGEST_FOLDER} letters."
!define PERCENT "Windows may take a % in the path of this folder for a variable. Choose another one."
!define ON_A_NETWORK "The app does not run from a network folder. Choose a folder of this computer."
!define NOT_WRITABLE "No file can be made in $INSTDIR. Choose a folder that is yours."
!define STRANGE "The app does not lie in the folder of this uninstaller. Nothing was removed."
!define DAMAGED "The app is damaged, so nobody could tell who uses the environments and weights in ${DATA}. They were left: delete that folder yourself once no program uses it."
!define PYTHON_IN_USE "A program runs with the Python in $INSTDIR\python, so that was left: delete it once the program has ended."

Name "${TITLE}"
BrandingText "${TITLE} ${VERSION}"
OutFile "${OUTPUT}"
RequestExecutionLevel user
InstallDir "$LOCALAPPDATA\Programs\GA3EnvManager"
InstallDirRegKey HKCU "${KEY}" InstallLocation
ShowInstDetails show
ShowUninstDetails show
VIProductVersion "${VERSION}.0"
VIAddVersionKey ProductName "${TITLE}"
VIAddVersionKey ProductVersion "${VERSION}"
VIAddVersionKey FileVersion "${VERSION}"
VIAddVersionKey FileDescription "Installer of ${TITLE}"
VIAddVersionKey LegalCopyright "${LICENSE}"

Var Heading ; how it went, on the last two pages
Var Subheading
Var Outcome

!define MUI_ICON "${ICON}"
!define MUI_UNICON "${ICON}"
!define MUI_WELCOMEFINISHPAGE_BITMAP "${BANNER}"
!define MUI_ABORTWARNING
!define MUI_COMPONENTSPAGE_NODESC
!define MUI_INSTFILESPAGE_FINISHHEADER_TEXT "$Heading"
!define MUI_INSTFILESPAGE_FINISHHEADER_SUBTEXT "$Subheading"
!define MUI_FINISHPAGE_TITLE "$Heading"
!define MUI_FINISHPAGE_TEXT "$Outcome"
!define MUI_FINISHPAGE_RUN "$INSTDIR\${STARTER}"
!define MUI_FINISHPAGE_RUN_TEXT "Open ${TITLE}"
!define MUI_PAGE_CUSTOMFUNCTION_LEAVE CheckFolder
!define MUI_DIRECTORYPAGE_TEXT_TOP "The app is installed for you alone, so no administrator is needed.$\r$\n$\r$\nEnvironments and weights, many gigabytes, go to ${DATA} later on. The app's settings can move them to another disk."
!insertmacro MUI_PAGE_DIRECTORY
!define MUI_PAGE_HEADER_TEXT "Shortcuts"
!define MUI_PAGE_HEADER_SUBTEXT "One is made in the Start menu."
!define MUI_COMPONENTSPAGE_TEXT_TOP "Images and pipelines can be dropped on a shortcut on the desktop."
!define MUI_COMPONENTSPAGE_TEXT_INSTTYPE " "
!define MUI_COMPONENTSPAGE_TEXT_COMPLIST "What is installed:"
!insertmacro MUI_PAGE_COMPONENTS
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_PAGE_FINISH
UninstPage custom un.AskPage un.Asked
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"

Var Busy
Var Refusal ; why a folder cannot be taken; empty where it can
Var Upgrade ; 1: the uninstaller only makes room for another version
Var RemoveData ; 1: environments, weights and settings go too
Var Mark ; of the uninstaller's question
Var Left ; what could not be removed

!macro Refuse CODE TEXT
  SetErrorLevel ${CODE}
  ${If} ${Silent}
    !insertmacro Say "${TEXT}"
    Quit
  ${EndIf}
  Abort "${TEXT}"
!macroend

; The program file of a running process cannot be opened for writing.
!macro LookAt FILE
  ${If} ${FileExists} "$INSTDIR\${FILE}"
    ClearErrors
    FileOpen $0 "$INSTDIR\${FILE}" a
    ${If} ${Errors}
      StrCpy $Busy "${FILE}"
    ${Else}
      FileClose $0
    ${EndIf}
  ${EndIf}
!macroend

!macro FunctionRefuseWhileOpen UN
  Function ${UN}RefuseWhileOpen
    again:
    StrCpy $Busy ""
    !insertmacro LookAt ".venv\Scripts\pythonw.exe"
    !insertmacro LookAt ".venv\Scripts\python.exe"
    !insertmacro LookAt "external\UV\uv.exe"
    !insertmacro LookAt "${STARTER}"
    ${If} $Busy == ""
      !insertmacro LookForAnother
    ${EndIf}
    ${If} $Busy != ""
      MessageBox MB_RETRYCANCEL|MB_ICONEXCLAMATION "${OPEN}" /SD IDCANCEL IDRETRY again
      !insertmacro Refuse 3 "${OPEN}"
    ${EndIf}
  FunctionEnd
!macroend
; One at a time: two would write the same files. The system closes the handle with the process.
!macro LookForAnother
  System::Call 'kernel32::CreateMutex(p 0, i 0, t "Local\GA3EnvManager-setup") p .r1 ?e'
  Pop $0
  ${If} $0 = ${ALREADY_EXISTS}
    System::Call 'kernel32::CloseHandle(p r1)'
    StrCpy $Busy "another installer"
  ${EndIf}
!macroend

!insertmacro FunctionRefuseWhileOpen ""
!insertmacro FunctionRefuseWhileOpen "un."

; A folder with the first two files of an installation is ours, also where that was broken off.
; Whole disks are refused by NSIS itself.
Function LookAtFolder
  StrCpy $Refusal ""
  StrLen $0 $INSTDIR
  StrLen $1 "${DATA}\"
  StrCpy $1 "$INSTDIR\" $1
  StrCpy $2 $INSTDIR 2
  ReadRegStr $3 HKCU "${KEY}" InstallLocation
  ClearErrors
  ${WordFind} $INSTDIR "%" "E+1{" $4
  ${IfNot} ${Errors}
    StrCpy $Refusal "${PERCENT}"
    Return
  ${EndIf}
  ${If} $0 > ${LONGEST_FOLDER}
    StrCpy $Refusal "${TOO_LONG}"
  ${ElseIf} $2 == "\\"
    StrCpy $Refusal "${ON_A_NETWORK}"
  ${ElseIf} $INSTDIR == $DESKTOP
  ${OrIf} $INSTDIR == $DOCUMENTS
  ${OrIf} $INSTDIR == $PROFILE
    StrCpy $Refusal "${USERS_OWN}"
  ${ElseIf} $1 == "${DATA}\"
    StrCpy $Refusal "${DATA_FOLDER}"
  ${ElseIf} $3 != ""
  ${AndIf} $3 != $INSTDIR
  ${AndIf} ${FileExists} "$3\Uninstall.exe"
  ${AndIf} ${FileExists} "$3\release.json"
    StrCpy $Refusal "The app is installed in $3 already. Choose that folder, or uninstall it there first."
  ${ElseIfNot} ${FileExists} "$INSTDIR\release.json"
  ${OrIfNot} ${FileExists} "$INSTDIR\${STARTER}"
    Call LookForForeignFiles
  ${EndIf}
FunctionEnd

; Only what an uninstallation has kept may lie there, or one that was broken off at its beginning.
Function LookForForeignFiles
  FindFirst $0 $1 "$INSTDIR\*"
  ${DoUntil} $1 == ""
    ${If} $1 == "."
    ${OrIf} $1 == ".."
    ${OrIf} $1 == "${UNFINISHED}"
    ${OrIf} $1 == "Uninstall.exe" ; stays where it was told to wait: _?=
      Nop
    ${ElseIf} $1 == "python"
    ${AndIf} ${FileExists} "$INSTDIR\python\*.complete"
      Nop
    ${ElseIf} $1 == "python"
    ${AndIf} ${FileExists} "$INSTDIR\python\cpython-*"
      Nop
    ${Else}
      StrCpy $Refusal "${FOREIGN}"
    ${EndIf}
    FindNext $0 $1
  ${Loop}
  FindClose $0
FunctionEnd

Function CheckFolder
  Call LookAtFolder
  ${If} $Refusal != ""
    MessageBox MB_OK|MB_ICONEXCLAMATION "$Refusal"
    Abort
  ${EndIf}
FunctionEnd

; Until all is written, the starter starts nothing: half of one version and half of another.
Function BeginWriting
  CreateDirectory "$INSTDIR"
  ClearErrors
  FileOpen $0 "$INSTDIR\${UNFINISHED}" w
  ${If} ${Errors}
    !insertmacro Refuse 4 "${NOT_WRITABLE}"
  ${EndIf}
  FileClose $0
FunctionEnd

; What the last version had and this one has not would stay otherwise.
Function RemoveOldVersion
  ${If} ${FileExists} "$INSTDIR\Uninstall.exe"
  ${AndIf} ${FileExists} "$INSTDIR\release.json"
    ExecWait '"$INSTDIR\Uninstall.exe" /S /UPGRADE _?=$INSTDIR'
  ${EndIf}
FunctionEnd

Section "${TITLE}" PROGRAM
  SectionIn RO
  Call LookAtFolder
  ${If} $Refusal != ""
    !insertmacro Refuse 4 "$Refusal"
  ${EndIf}
  Call RefuseWhileOpen
  Call BeginWriting
  DetailPrint "Unpacking ..."
  SetDetailsPrint none
  Call RemoveOldVersion
  !insertmacro InstallProgram
  SetOutPath "$INSTDIR"
  WriteUninstaller "$INSTDIR\Uninstall.exe"
  Delete "$INSTDIR\${UNFINISHED}"
  CreateShortcut "$SMPROGRAMS\${TITLE}.lnk" "$INSTDIR\${STARTER}"
  WriteRegStr HKCU "${KEY}" DisplayName "${TITLE}"
  WriteRegStr HKCU "${KEY}" DisplayVersion "${VERSION}"
  WriteRegStr HKCU "${KEY}" DisplayIcon "$INSTDIR\${STARTER}"
  WriteRegStr HKCU "${KEY}" Publisher "${TITLE}"
  WriteRegStr HKCU "${KEY}" InstallLocation "$INSTDIR"
  WriteRegStr HKCU "${KEY}" UninstallString '"$INSTDIR\Uninstall.exe"'
  WriteRegStr HKCU "${KEY}" QuietUninstallString '"$INSTDIR\Uninstall.exe" /S'
  WriteRegDWORD HKCU "${KEY}" NoModify 1
  WriteRegDWORD HKCU "${KEY}" NoRepair 1
  SetDetailsPrint both
  SetAutoClose true
SectionEnd

Section /o "Shortcut on the desktop" SHORTCUT
  CreateShortcut "$DESKTOP\${TITLE}.lnk" "$INSTDIR\${STARTER}"
SectionEnd

Section "-Set-up" SET_UP
  AddSize ${SIZE_OF_VENV}
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/NOSETUP" $1
  ${If} ${Errors}
    Call SetUp
  ${EndIf}
  ${If} $Failed != ""
    SetAutoClose false
    SetErrorLevel 5
    StrCpy $Heading "Installed, but not set up yet"
    StrCpy $Subheading "The next start of the app goes on with it."
    StrCpy $Outcome "${NOT_SET_UP}"
    ${If} ${Silent}
      !insertmacro Say "${NOT_SET_UP}"
    ${Else}
      MessageBox MB_OK|MB_ICONEXCLAMATION "${NOT_SET_UP}"
    ${EndIf}
  ${EndIf}
  SectionGetSize ${PROGRAM} $0
  SectionGetSize ${SET_UP} $1
  IntOp $0 $0 + $1
  WriteRegDWORD HKCU "${KEY}" EstimatedSize $0
SectionEnd

; NSIS takes the usual folder where it does not like that of /D=, and says nothing. A page shows
; which one it is, but nobody sees that when it is silent.
Function RefuseOtherFolder
  System::Call 'kernel32::GetCommandLine() t .r0'
  ClearErrors
  ${WordFindS} "$0" " /D=" "E+1}" $1
  ${IfNot} ${Errors}
    ${Do}
      StrCpy $2 $1 1 -1
      ${If} $2 != "\"
      ${AndIf} $2 != " "
        ${Break}
      ${EndIf}
      StrCpy $1 $1 -1
    ${Loop}
    ${If} $1 != $INSTDIR
      !insertmacro Refuse 4 "The folder $1 cannot be taken. Give a full path on a disk that is there, below its top and without quotes."
    ${EndIf}
  ${EndIf}
FunctionEnd

Function .onInit
  ${If} ${Silent}
    Call RefuseOtherFolder
  ${EndIf}
  StrCpy $Heading "Installed"
  StrCpy $Subheading "${TITLE} is ready."
  StrCpy $Outcome "${TITLE} is on your computer, with an entry in the Start menu."
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/DESKTOP" $1
  ${IfNot} ${Errors}
    !insertmacro SelectSection ${SHORTCUT}
  ${EndIf}
  ReadRegStr $0 HKCU "${KEY}" DisplayVersion
  ${If} $0 != ""
    ${VersionCompare} "$0" "${VERSION}" $1
    ${If} $1 == 1
      MessageBox MB_YESNO|MB_ICONQUESTION "The newer version $0 is installed. Replace it by the older ${VERSION}?$\r$\n$\r$\nEnvironments and weights stay, but an older app may refuse what a newer one has written." /SD IDYES IDYES older
      SetErrorLevel 1
      Quit
      older:
    ${EndIf}
  ${EndIf}
FunctionEnd

Function .onInstFailed
  ${If} ${Silent}
    !insertmacro Say "${BROKEN_OFF}"
  ${EndIf}
FunctionEnd

; ---- the way back -------------------------------------------------------------------------------

Function un.onInit
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/REMOVEDATA" $1
  ${IfNot} ${Errors}
    StrCpy $RemoveData 1
  ${EndIf}
  ClearErrors
  ${GetOptions} $0 "/UPGRADE" $1
  ${IfNot} ${Errors}
    StrCpy $Upgrade 1
  ${EndIf}
  ${IfNot} ${FileExists} "$INSTDIR\release.json"
  ${OrIfNot} ${FileExists} "$INSTDIR\${STARTER}"
    MessageBox MB_OK|MB_ICONEXCLAMATION "${STRANGE}" /SD IDOK
    SetErrorLevel 4
    ${If} ${Silent}
      !insertmacro Say "${STRANGE}"
    ${EndIf}
    Quit
  ${EndIf}
FunctionEnd

Function un.AskPage
  !insertmacro MUI_HEADER_TEXT "Uninstall ${TITLE}" "Choose what becomes of your environments."
  nsDialogs::Create 1018
  Pop $0
  ${NSD_CreateLabel} 0 0 100% 24u "The app will be removed from$\r$\n$INSTDIR"
  Pop $0
  ${NSD_CreateCheckbox} 0 40u 100% 12u "&Delete environments, weights and settings, too"
  Pop $Mark
  ${If} $RemoveData == 1
    ${NSD_Check} $Mark
  ${EndIf}
  ${NSD_CreateLabel} 12u 56u 95% 40u "Modules that you have made or added yourself are among them. What stays serves the nodes of NIS-Elements as before, and a later installation."
  Pop $0
  GetDlgItem $0 $HWNDPARENT 1
  SendMessage $0 ${WM_SETTEXT} 0 "STR:&Uninstall"
  nsDialogs::Show
FunctionEnd

Function un.Asked
  ${NSD_GetState} $Mark $RemoveData
FunctionEnd

; Refuses while somebody works with an environment; then nothing was removed.
Function un.RemoveData
  again:
  DetailPrint "Removing environments, weights and settings. This may take minutes ..."
  SetDetailsPrint none
  SetOutPath "$INSTDIR"
  SetDetailsPrint both
  nsExec::ExecToStack '"$INSTDIR\.venv\Scripts\python.exe" -I "$INSTDIR\external\remove_data.py"'
  Pop $0
  Pop $1
  ${If} $0 == ${IN_USE}
    MessageBox MB_RETRYCANCEL|MB_ICONEXCLAMATION "$1" /SD IDCANCEL IDRETRY again
    !insertmacro Refuse 3 "$1"
  ${ElseIf} $0 == ${NOT_ALL}
    StrCpy $Left "$1"
  ${ElseIf} $0 != 0
  ${AndIf} ${FileExists} "${DATA}\*"
    StrCpy $Left "${DAMAGED}"
  ${EndIf}
  DeleteRegKey HKCU "Software\GA3EnvManager"
FunctionEnd

; The Pythons that the release has brought, or uv; other files in that folder stay. With one that
; somebody runs, none of it goes: half a Python serves nobody.
Function un.RemovePythons
  StrCpy $3 0
  again:
  StrCpy $Busy ""
  FindFirst $0 $1 "$INSTDIR\python\*"
  ${DoUntil} $1 == ""
    Push $0
    !insertmacro LookAt "python\$1\python.exe"
    !insertmacro LookAt "python\$1\pythonw.exe"
    Pop $0
    FindNext $0 $1
  ${Loop}
  FindClose $0
  ${If} $Busy != ""
    ${If} $3 < ${PATIENCE} ; a worker that was told to end may need a moment
      Sleep 500
      IntOp $3 $3 + 1
      Goto again
    ${EndIf}
    StrCpy $Left "${PYTHON_IN_USE}"
    Return
  ${EndIf}
  FindFirst $0 $1 "$INSTDIR\python\*.complete"
  ${DoUntil} $1 == ""
    StrCpy $2 $1 -9
    RMDir /r "\\?\$INSTDIR\python\$2"
    Delete "$INSTDIR\python\$1"
    FindNext $0 $1
  ${Loop}
  FindClose $0
  FindFirst $0 $1 "$INSTDIR\python\cpython-*"
  ${DoUntil} $1 == ""
    RMDir "$INSTDIR\python\$1" ; of a link to another one, only the link
    RMDir /r "\\?\$INSTDIR\python\$1"
    FindNext $0 $1
  ${Loop}
  FindClose $0
  RMDir /r "\\?\$INSTDIR\python\.temp"
  RMDir /r "\\?\$INSTDIR\python\.cache"
  Delete "$INSTDIR\python\.lock"
  Delete "$INSTDIR\python\.gitignore"
  RMDir "$INSTDIR\python"
FunctionEnd

Section "un.${TITLE}"
  ${If} $Upgrade == 1
    !insertmacro RemoveProgram
    Return
  ${EndIf}
  Call un.RefuseWhileOpen
  ${If} $RemoveData == 1
    Call un.RemoveData
  ${EndIf}
  DetailPrint "Removing ${TITLE} ..."
  SetDetailsPrint none
  SetOutPath "$TEMP" ; the current folder cannot be removed
  !insertmacro RemoveProgram
  RMDir /r "\\?\$INSTDIR\.venv"
  RMDir /r "\\?\$INSTDIR\external\UV"
  RMDir "$INSTDIR\external"
  ${IfNot} ${FileExists} "${DATA}\*" ; kept environments run with it
    Call un.RemovePythons
  ${EndIf}
  Delete "$SMPROGRAMS\${TITLE}.lnk"
  Delete "$DESKTOP\${TITLE}.lnk"
  DeleteRegKey HKCU "${KEY}"
  Delete "$INSTDIR\${UNFINISHED}"
  Delete "$INSTDIR\${STARTER}" ; without this and the next the folder is not ours any more
  Delete "$INSTDIR\release.json"
  Delete "$INSTDIR\Uninstall.exe"
  RMDir "$INSTDIR"
  SetDetailsPrint both
  ${If} $Left != ""
    DetailPrint "$Left"
    SetErrorLevel 6
    ${If} ${Silent}
      !insertmacro Say "$Left"
    ${Else}
      MessageBox MB_OK|MB_ICONINFORMATION "$Left"
    ${EndIf}
  ${EndIf}
SectionEnd
