; Installs for one user, without administrator rights, and touches nothing outside of the user's
; own folders and registry. Switches: /S silent, /DESKTOP a shortcut there, /NOSETUP leaves the
; set-up to the first start, /D=FOLDER (last).
; Exit codes: 1 cancelled, 3 the app or an environment is in use, 4 a folder that cannot be taken,
; 5 installed, but the set-up is still to do, 6 uninstalled, but some data could not be removed.
; The uninstaller keeps environments, weights and settings unless /REMOVEDATA is given; with /UPGRADE
; it removes the program's files only, for the installer of another version. It knows those by their
; names; as a whole it removes only folders that nobody else writes into.

Unicode true
Target amd64-unicode
ManifestDPIAware true
!include release.nsh
SetCompressor ${COMPRESSOR}
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
!define OPEN "${TITLE} is open or at work. Close it, then try again."
!define FOREIGN "This folder holds other files. Choose an empty or a new one."
!define USERS_OWN "This folder is for your own files. Choose a new one in it."
!define DATA_FOLDER "Environments and weights lie in this folder. Choose another one for the app."
!define TOO_LONG "The path of this folder is too long. Choose one of at most ${LONGEST_FOLDER} letters."
!define STRANGE "The app does not lie in the folder of this uninstaller. Nothing was removed."

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
    ${If} $Busy != ""
      MessageBox MB_RETRYCANCEL|MB_ICONEXCLAMATION "${OPEN}" /SD IDCANCEL IDRETRY again
      !insertmacro Refuse 3 "${OPEN}"
    ${EndIf}
  FunctionEnd
!macroend
!insertmacro FunctionRefuseWhileOpen ""
!insertmacro FunctionRefuseWhileOpen "un."

; A folder with the first two files of an installation is ours, also where that was broken off.
; Whole disks are refused by NSIS itself.
Function LookAtFolder
  StrCpy $Refusal ""
  StrLen $0 $INSTDIR
  StrLen $1 "${DATA}\"
  StrCpy $2 "$INSTDIR\" $1
  ${If} $0 > ${LONGEST_FOLDER}
    StrCpy $Refusal "${TOO_LONG}"
  ${ElseIf} $INSTDIR == $DESKTOP
  ${OrIf} $INSTDIR == $DOCUMENTS
  ${OrIf} $INSTDIR == $PROFILE
    StrCpy $Refusal "${USERS_OWN}"
  ${ElseIf} $2 == "${DATA}\"
    StrCpy $Refusal "${DATA_FOLDER}"
  ${EndIf}
  ${If} $Refusal != ""
    Return
  ${EndIf}
  ${If} ${FileExists} "$INSTDIR\release.json"
  ${AndIf} ${FileExists} "$INSTDIR\${STARTER}"
    Return
  ${EndIf}
  FindFirst $0 $1 "$INSTDIR\*"
  ${DoUntil} $1 == ""
    ${If} $1 == "."
    ${OrIf} $1 == ".."
      Nop
    ${ElseIf} $1 == "python" ; what an uninstall has kept
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

; What the last version had and this one has not would stay otherwise.
Function RemoveOldVersion
  ${If} ${FileExists} "$INSTDIR\Uninstall.exe"
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
  DetailPrint "Unpacking ..."
  SetDetailsPrint none
  Call RemoveOldVersion
  !insertmacro InstallProgram
  SetOutPath "$INSTDIR"
  WriteUninstaller "$INSTDIR\Uninstall.exe"
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

Function .onInit
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
  ${ElseIf} $0 != 0 ; the app is damaged
    RMDir /r "\\?\${DATA}"
  ${EndIf}
  DeleteRegKey HKCU "Software\GA3EnvManager"
FunctionEnd

; The Pythons that the release has brought, or uv; other files in that folder stay.
Function un.RemovePythons
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
  Delete "$INSTDIR\${STARTER}"
  Delete "$INSTDIR\release.json"
  Delete "$INSTDIR\Uninstall.exe"
  RMDir "$INSTDIR"
  Delete "$SMPROGRAMS\${TITLE}.lnk"
  Delete "$DESKTOP\${TITLE}.lnk"
  DeleteRegKey HKCU "${KEY}"
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
