; Installs for one user, without administrator rights, and touches nothing outside of the user's
; own folders and registry. Switches: /S silent, /DESKTOP a shortcut there, /NOSETUP leaves the
; set-up to the first start, /D=FOLDER (last).
; Exit codes: 1 cancelled, 3 the app is open, 4 a foreign folder, 5 installed, but the set-up is
; still to do. The uninstaller keeps environments, weights and settings unless /REMOVEDATA is given.

Unicode true
Target amd64-unicode
ManifestDPIAware true
!include release.nsh
SetCompressor ${COMPRESSOR}
!include LogicLib.nsh
!include FileFunc.nsh
!include Sections.nsh
!include MUI2.nsh
!include setup.nsh

!define KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\GA3EnvManager"
!define SIZE_OF_VENV 363000 ; KB, for the page that says how much is needed
!define DATA "$LOCALAPPDATA\GA3EnvManager"
!define OPEN "${TITLE} is open, or one of its commands is at work. Close it, then try again."
!define FOREIGN "This folder holds other files. Choose an empty or a new one."
!define LATER "The app is installed, but its packages could not be fetched yet. Its first start tries again."

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

!define MUI_ICON "${ICON}"
!define MUI_UNICON "${ICON}"
!define MUI_WELCOMEFINISHPAGE_BITMAP "${BANNER}"
!define MUI_ABORTWARNING
!define MUI_COMPONENTSPAGE_NODESC
!define MUI_FINISHPAGE_NOAUTOCLOSE
!define MUI_UNFINISHPAGE_NOAUTOCLOSE
!define MUI_FINISHPAGE_RUN "$INSTDIR\${STARTER}"
!define MUI_FINISHPAGE_RUN_TEXT "Open ${TITLE}"
!define MUI_PAGE_CUSTOMFUNCTION_LEAVE CheckFolder
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_COMPONENTS
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_PAGE_FINISH
!define MUI_COMPONENTSPAGE_TEXT_TOP "Environments, weights and settings are kept, for a later installation, unless you mark them here."
!insertmacro MUI_UNPAGE_COMPONENTS
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"

Var Busy

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

; Says in $Busy what stands in a folder that is not ours; an upgrade replaces folders as a whole.
Function LookForForeignFiles
  StrCpy $Busy ""
  ${If} ${FileExists} "$INSTDIR\release.json"
    Return
  ${EndIf}
  FindFirst $0 $1 "$INSTDIR\*"
  ${DoUntil} $1 == ""
    ${If} $1 != "."
    ${AndIf} $1 != ".."
    ${AndIf} $1 != "python" ; what an uninstall has kept
      StrCpy $Busy $1
    ${EndIf}
    FindNext $0 $1
  ${Loop}
  FindClose $0
FunctionEnd

Function CheckFolder
  Call LookForForeignFiles
  ${If} $Busy != ""
    MessageBox MB_OK|MB_ICONEXCLAMATION "${FOREIGN}"
    Abort
  ${EndIf}
FunctionEnd

Section "${TITLE}"
  SectionIn RO
  Call LookForForeignFiles
  ${If} $Busy != ""
    !insertmacro Refuse 4 "${FOREIGN}"
  ${EndIf}
  Call RefuseWhileOpen
  DetailPrint "Unpacking ..."
  SetDetailsPrint none
  !insertmacro RemoveProgram
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
SectionEnd

Section /o "Shortcut on the desktop" SHORTCUT
  CreateShortcut "$DESKTOP\${TITLE}.lnk" "$INSTDIR\${STARTER}"
SectionEnd

Section
  AddSize ${SIZE_OF_VENV}
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/NOSETUP" $1
  ${If} ${Errors}
    Call SetUp
  ${EndIf}
  ${If} $Failed != ""
    SetErrorLevel 5
    ${If} ${Silent}
      !insertmacro Say "${LATER}"
    ${Else}
      MessageBox MB_OK|MB_ICONINFORMATION "${LATER}"
    ${EndIf}
  ${EndIf}
  ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
  WriteRegDWORD HKCU "${KEY}" EstimatedSize $0
SectionEnd

Function .onInit
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/DESKTOP" $1
  ${IfNot} ${Errors}
    !insertmacro SelectSection ${SHORTCUT}
  ${EndIf}
FunctionEnd

; ---- the way back -------------------------------------------------------------------------------

Section "un.${TITLE}"
  SectionIn RO
  Call un.RefuseWhileOpen
SectionEnd

Section /o "un.Environments, weights and settings" REMOVE_DATA
  DetailPrint "Removing environments, weights and settings ..."
  SetDetailsPrint none
  SetOutPath "$INSTDIR"
  nsExec::ExecToLog '"$INSTDIR\.venv\Scripts\python.exe" -I "$INSTDIR\external\remove_data.py"'
  Pop $0
  RMDir /r "${DATA}"
  DeleteRegKey HKCU "Software\GA3EnvManager"
  SetDetailsPrint both
SectionEnd

Section "un."
  DetailPrint "Removing ${TITLE} ..."
  SetDetailsPrint none
  SetOutPath "$TEMP" ; the current folder cannot be removed
  !insertmacro RemoveProgram
  RMDir /r "$INSTDIR\.venv"
  ${IfNot} ${FileExists} "${DATA}\*" ; kept environments run with it
    RMDir /r "$INSTDIR\python"
  ${EndIf}
  Delete "$INSTDIR\Uninstall.exe"
  RMDir "$INSTDIR"
  Delete "$SMPROGRAMS\${TITLE}.lnk"
  Delete "$DESKTOP\${TITLE}.lnk"
  DeleteRegKey HKCU "${KEY}"
SectionEnd

Function un.onInit
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/REMOVEDATA" $1
  ${IfNot} ${Errors}
    !insertmacro SelectSection ${REMOVE_DATA}
  ${EndIf}
FunctionEnd
