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
!define MUI_PAGE_HEADER_SUBTEXT "This happens once, and takes a few minutes without a fast network."
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

Var Arguments

!insertmacro FunctionStartApp

Function .onInit
  StrCpy $INSTDIR "$EXEDIR"
  ${GetParameters} $Arguments
  StrCpy $0 $Arguments 6
  ${If} $0 == "/SETUP" ; says bootstrap.py, which has looked
    StrCpy $Arguments $Arguments "" 6
    Return
  ${EndIf}
  ${If} ${FileExists} "${STAMP}"
    Call StartApp
    ${IfNot} ${Errors}
      Quit
    ${EndIf}
  ${EndIf}
FunctionEnd

Section
  SetDetailsView show
  Call SetUp
  ${If} $Failed != ""
    SetErrorLevel 5
    Abort "The app could not be set up."
  ${EndIf}
  !insertmacro SetVariable _GA3ENV_SET_UP 't "1"' ; no second window, whatever comes
  Call StartApp
SectionEnd
