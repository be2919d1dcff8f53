# Makes the completions of minijail0, which has no argument parser that would, from its --help.
# Variable `shell`: bash, zsh or fish.

# An option begins two spaces in; its text, on the same line or the next ones, at column 26.
/^  -/ {
  hasText = length($0) > 25 && substr($0, 25, 1) == " "
  add(hasText ? substr($0, 3, 22) : substr($0, 3), hasText ? substr($0, 26) : "")
  next
}
/^                         [^ ]/ {
  if (count) told[count] = told[count] (told[count] == "" ? "" : " ") substr($0, 26)
}

function add(head, explanation, names, i, n, parts, value) {
  sub(/ +$/, "", head)
  # The head is names, and then, after a space, the value if it is an argument of its own.
  value = match(head, / [^-]/) ? substr(head, RSTART + 1) : ""
  sub(/ [^-].*/, "", head)
  n = split(head, parts, ", ")
  names = ""
  for (i = 1; i <= n; i++) {
    sub(/\[.*/, "", parts[i])
    names = names (i > 1 ? " " : "") parts[i]
  }
  count++
  name[count] = names
  told[count] = explanation
  takes[count] = value
  kind[count] = value == "" ? "" : kindOf(names, value)
}

# How a shell completes a value: by a rule of its own, or from these words.
function kindOf(names, value) {
  if (names == "--daemon-store") return "store"
  if (names == "--profile") return "words minimalistic-mountns minimalistic-mountns-nodev"
  if (names == "--logging") return "words auto syslog stderr"
  if (value == "static|dynamic") return "words static dynamic"
  if (value == "USER") return "user"
  if (value ~ /^G/) return "group"
  if (value ~ /^(FILE|PATH|DIR|SRC)/) return "file"
  return "other"
}

# The first sentence, for a menu.
function hint(i, text) {
  text = told[i]
  sub(/[.:;]( .*)?$/, "", text)
  return text
}

function all(i, out) {
  out = name[1]
  for (i = 2; i <= count; i++) out = out " " name[i]
  return out
}

function pattern(wanted, i, out) {
  for (i = 1; i <= count; i++) {
    if (kind[i] != "" && (wanted == "" || kind[i] == wanted)) out = out " " name[i]
  }
  out = substr(out, 2)
  gsub(/ /, " | ", out)
  return out
}

END {
  if (count < 50) {
    print "minijail0.awk: --help has only " count " options that it can read" > "/dev/stderr"
    exit 1
  }
  if (shell == "bash") bash()
  else if (shell == "zsh") zsh()
  else fish()
}

function bash(i) {
  print "# Completion of minijail0, made from its --help."
  print "_minijail0() {"
  print "  local cur prev words cword i=1"
  print "  _init_completion || return"
  print "  # The program and its arguments are a command of their own."
  print "  while ((i < cword)); do"
  print "    case ${words[i]} in"
  print "      --) _command_offset $((i + 1)); return ;;"
  print "      " pattern() ") ((i += 2)) ;;"
  print "      -*) ((i++)) ;;"
  print "      *) _command_offset $i; return ;;"
  print "    esac"
  print "  done"
  print "  if ((i == cword)); then"
  print "    case $cur in"
  print "      -*) COMPREPLY=($(compgen -W '" all() "' -- \"$cur\")) ;;"
  print "      *) _command_offset $i ;;"
  print "    esac"
  print "    return"
  print "  fi"
  print "  case $prev in"
  print "    " pattern("user") ") COMPREPLY=($(compgen -u -- \"$cur\")) ;;"
  print "    " pattern("group") ") COMPREPLY=($(compgen -g -- \"$cur\")) ;;"
  print "    " pattern("file") ") _filedir ;;"
  # compgen -W would expand what a name says: $(...), `...` and *.
  print "    " pattern("store") ")"
  print "      local store"
  print "      for store in /etc/daemon-store/*/; do"
  print "        store=${store%/}; store=${store##*/}"
  print "        [[ $store =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ && $store == \"$cur\"* ]] && COMPREPLY+=(\"$store\")"
  print "      done ;;"
  for (i = 1; i <= count; i++) {
    if (kind[i] ~ /^words /)
      print "    " name[i] ") COMPREPLY=($(compgen -W '" substr(kind[i], 7) "' -- \"$cur\")) ;;"
  }
  print "  esac"
  print "}"
  print "complete -F _minijail0 minijail0"
}

function zsh(i, j, n, parts, text) {
  print "#compdef minijail0"
  print "# Made from its --help."
  print "_arguments -S \\"
  for (i = 1; i <= count; i++) {
    text = hint(i)
    gsub(/'/, "'\\''", text)
    gsub(/\[|\]|:/, "\\\\&", text)
    n = split(name[i], parts, " ")
    for (j = 1; j <= n; j++) print "  '*" parts[j] "[" text "]" zshValue(i) "' \\"
  }
  print "  '(-)1:program: _command_names -e' \\"
  print "  '*::argument: _normal'"
}

function zshValue(i, label) {
  if (kind[i] == "") return ""
  label = tolower(takes[i])
  gsub(/[^a-z].*/, "", label)
  label = ":" label ":"
  if (kind[i] == "user") return label "_users"
  if (kind[i] == "group") return label "_groups"
  if (kind[i] == "file") return label "_files"
  if (kind[i] == "store") return label "{compadd -- /etc/daemon-store/*(N\\:t)}"
  if (kind[i] ~ /^words /) return label "(" substr(kind[i], 7) ")"
  return label
}

function fish(i, j, n, parts, text) {
  print "# Completion of minijail0, made from its --help."
  print "complete -c minijail0 -x -a '(__fish_complete_subcommand)'"
  for (i = 1; i <= count; i++) {
    text = hint(i)
    gsub(/'/, "\\'", text)
    printf "complete -c minijail0"
    n = split(name[i], parts, " ")
    for (j = 1; j <= n; j++) printf " %s", (parts[j] ~ /^--/ ? "-l " substr(parts[j], 3) : "-s " substr(parts[j], 2))
    printf "%s -d '%s'\n", fishValue(i), text
  }
}

function fishValue(i) {
  if (kind[i] == "") return ""
  if (kind[i] == "file") return " -r -F"
  if (kind[i] == "user") return " -x -a '(__fish_complete_users)'"
  if (kind[i] == "group") return " -x -a '(__fish_complete_groups)'"
  if (kind[i] == "store") return " -x -a '(path basename /etc/daemon-store/*)'"
  if (kind[i] ~ /^words /) return " -x -a '" substr(kind[i], 7) "'"
  return " -x"
}
