import ArgumentParser

/// What is wrong with a command line that names no command of a program, in words for one line; nil
/// when the words name a command, or begin with options: those are for the parser.
///
/// - Parameter words: the command line without the name of the program.
func commandMistake(in words: [String], of root: any ParsableCommand.Type) -> String? {
  var command = root
  var name = root.configuration.commandName ?? "program"
  // `help` takes the words of a command, and may end anywhere.
  let isHelp = words.first == "help"
  for word in isHelp ? words.dropFirst() : words[...] {
    let commands = command.configuration.subcommands
    if commands.isEmpty || word.hasPrefix("-") || ByteArguments.isEncoded(word) { return nil }
    guard let next = commands.first(where: { $0.configuration.commandName == word }) else {
      let known = commands.compactMap { $0.configuration.commandName }
      let guess = closest(to: word, among: known).map { "; did you mean '\($0)'?" } ?? ";"
      return "\(name): there is no command '\(word)'\(guess) see \(name) --help"
    }
    command = next
    name += " \(word)"
  }
  if isHelp || command.configuration.subcommands.isEmpty { return nil }
  return "\(name): name a command; see \(name) --help"
}

/// The word that `word` was meant to be, if one differs by two bytes inserted, left out or changed at
/// most, and by half of it at most.
func closest(to word: String, among words: [String]) -> String? {
  var best: (word: String, distance: Int)?
  for known in words {
    let distance = distance(Array(word.utf8), Array(known.utf8))
    guard distance <= 2, distance * 2 <= known.utf8.count, distance < best?.distance ?? 3 else {
      continue
    }
    best = (known, distance)
  }
  return best?.word
}

/// How many bytes must be inserted, removed or changed to make one word of the other (Levenshtein).
private func distance(_ first: [UInt8], _ second: [UInt8]) -> Int {
  guard abs(first.count - second.count) <= 2 else { return 3 }
  var row = Array(0...second.count)
  for (line, byte) in first.enumerated() {
    var diagonal = row[0]
    row[0] = line + 1
    for (column, other) in second.enumerated() {
      let cost = diagonal + (byte == other ? 0 : 1)
      diagonal = row[column + 1]
      row[column + 1] = min(cost, row[column] + 1, row[column + 1] + 1)
    }
  }
  return row[second.count]
}
