import Glibc
import TestSupport
import Testing

/// What bash does when the words that it was given are completed, with what was read before.
let bashCompletion = """
  . /usr/share/bash-completion/bash_completion
  function=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
  COMP_POINT=${#COMP_LINE}
  "$function" "$1" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
  printf '%s\\n' "${COMPREPLY[@]}"
  """

/// What a shell offers after words that begin a command line.
@Suite struct CompletionTests {
  static let lines: [(words: [String], offer: String)] = [
    (["minijail0", "--daem"], "--daemon-store"),
    (["minijail0", "--profile", "minimalistic-mountns-"], "minimalistic-mountns-nodev"),
    (["minijail0", "-u", "root", "--logging", "sys"], "syslog"),
    (["daemon-store", "start"], "startup"),
    (["cryptohome", "unm"], "unmount"),
    (["seccomp-policy", "disas"], "disassemble"),
  ]

  private func script(_ program: String, _ shell: String) throws -> String {
    "\(try builtPrograms())/completions/\(program).\(shell)"
  }

  @Test(arguments: lines)
  func bashOffers(words: [String], offer: String) throws {
    let outcome = try TestSupport.run(
      "/bin/bash",
      [
        "-c",
        """
        . "$0"
        \(bashCompletion)
        """, try script(words[0], "bash"),
      ] + words)
    #expect(outcome.lines == [offer], "\(outcome)")
  }

  @Test(arguments: lines)
  func fishOffers(words: [String], offer: String) throws {
    let outcome = try TestSupport.run(
      "/usr/bin/fish",
      [
        "--no-config", "-c", "source $argv[1]; complete -C \"$argv[2..]\"",
        try script(words[0], "fish"),
      ] + words,
      // It looks for the program, and keeps files of its own.
      environment: ["PATH=\(try builtPrograms()):/usr/bin:/bin", "HOME=/nonexistent"])
    let offers = outcome.lines.compactMap { $0.split(separator: "\t").first.map(String.init) }
    #expect(offers == [offer], "\(outcome)")
  }

  /// It completes for somebody at a terminal only.
  @Test(arguments: lines)
  func zshOffers(words: [String], offer: String) throws {
    var template = Array("/tmp/zsh-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Problem("mkdtemp") }
    let place = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    defer { _ = try? TestSupport.run("/bin/rm", ["-r", "--", place]) }
    try makeLink("\(place)/_\(words[0])", to: script(words[0], "zsh"))
    let outcome = try TestSupport.run(
      "/usr/bin/zsh",
      [
        "-f", "-c",
        """
        zmodload zsh/zpty
        zpty shell zsh -f
        zpty -w shell "
        PS1= fpath=($0 \\$fpath)
        autoload -U compinit; compinit -u -D
        offer() { zle complete-word; print -r -- \\"<\\$BUFFER>\\"; exit }
        zle -N offer; bindkey '^I' offer"
        zpty -w -n shell "$*"$'\\t'
        zpty -r shell said $'*\\n<*>'
        print -r -- "${${said##*<}%>*}"
        """, place,
      ] + words)
    #expect(
      outcome.lines == [(words.dropLast() + [offer, ""]).joined(separator: " ")], "\(outcome)")
  }

  /// Those that are made from the help have every option that is in it.
  @Test(arguments: ["bash", "fish", "zsh"])
  func minijailHasAllOptions(shell: String) throws {
    let text = try readFile(script("minijail0", shell))
    let help = try TestSupport.run("\(try builtPrograms())/minijail0", ["--help"])
    for option in OptionHelp.all(in: help.lines).flatMap(\.names) {
      let form =
        shell != "fish"
        ? option
        : option.hasPrefix("--") ? "-l \(option.dropFirst(2))" : "-s \(option.dropFirst(1))"
      #expect(text.contains(form), "\(shell) has no \(option)")
    }
  }
}
