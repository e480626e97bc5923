; GA3EnvManager.exe: starts the app without a console; where the set-up is still to do, a small
; window shows it. Files that are dropped on it are its arguments.

Unicode true
Target amd64-unicode
SetCompressor /SOLID lzma
ManifestDPIAware true
!include LogicLib.nsh
!include FileFunc.nsh
!include MUI2.nsh
!include release.nsh
!include setup.nsh

Name "${TITLE}"
Caption "${TITLE}"
BrandingText "${VERSION}"
OutFile "${OUTPUT}"
RequestExecutionLevel user
AutoCloseWindow true
!define MUI_ICON "${ICON}"
!define MUI_PAGE_HEADER_TEXT "Setting up"
!define MUI_PAGE_HEADER_SUBTEXT "This happens once. It takes some minutes where the network is slow."
!define MUI_INSTFILESPAGE_ABORTHEADER_TEXT "The set-up did not end"
!define MUI_INSTFILESPAGE_ABORTHEADER_SUBTEXT "The last lines say why. The next start goes on where this one stopped."
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"
VIProductVersion "${VERSION}.0"
VIAddVersionKey ProductName "${TITLE}"
VIAddVersionKey ProductVersion "${VERSION}"
VIAddVersionKey FileVersion "${VERSION}"
VIAddVersionKey FileDescription "${TITLE}"
VIAddVersionKey LegalCopyright "${LICENSE}"

!define DAMAGED "The app in $INSTDIR is not whole: files are missing, or an installation of it has not ended.$\r$\n$\r$\nInstall it again: environments, weights and settings stay."
!define TOO_MANY "These are too many files for one start. Drop one of them."
!define LONGEST_LINE 1000 ; letters; NSIS cuts a command line after 1023

Var Arguments

!insertmacro FunctionStartApp

Function .onInit
  StrCpy $INSTDIR "$EXEDIR"
  ${IfNot} ${FileExists} "$INSTDIR\external\bootstrap.py"
  ${OrIf} ${FileExists} "$INSTDIR\${UNFINISHED}"
    MessageBox MB_OK|MB_ICONSTOP "${DAMAGED}"
    SetErrorLevel 1
    Quit
  ${EndIf}
  ${GetParameters} $Arguments
  StrLen $0 $CMDLINE
  ${If} $0 > ${LONGEST_LINE}
    MessageBox MB_OK|MB_ICONEXCLAMATION "${TOO_MANY}"
    StrCpy $Arguments ""
  ${EndIf}
  StrCpy $0 $Arguments 6
  ${If} $0 == "/SETUP" ; says bootstrap.py, which has looked
    StrCpy $Arguments $Arguments "" 6
    Return
  ${EndIf}
  ${If} ${FileExists} "${STAMP}"
    Call StartApp
    ${IfNot} ${Errors}
      SetErrorLevel 0 ; of Quit alone it is 2
      Quit
    ${EndIf}
  ${EndIf}
FunctionEnd

Section
  SetDetailsView show
  Call SetUp
  ${If} $Failed != ""
    SetErrorLevel 5
    MessageBox MB_OK|MB_ICONEXCLAMATION "${NOT_SET_UP}"
    Abort "The app is not set up yet."
  ${EndIf}
  !insertmacro SetVariable _GA3ENV_SET_UP 't "1"' ; no second window, whatever comes
  Call StartApp
SectionEnd
