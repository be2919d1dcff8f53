import CDaemonStoreLinux
import Glibc
import DaemonStoreKernel
import DaemonStoreProgram

extension TreeOutput {
  /// For Graphviz: the stores of the host on the left, the other namespaces on the right.
  func dot() -> String {
    var lines = [
      "digraph stores {",
      "  rankdir=LR; nodesep=0.25; ranksep=1.2; fontname=\"sans-serif\";",
      "  node [shape=plain, fontname=\"sans-serif\", fontsize=11];",
      "  edge [fontname=\"sans-serif\", fontsize=10];",
      "  subgraph cluster_host {",
      "    label=\"\(host ? "the host" : "this mount namespace")\"; style=rounded; color=gray50;",
    ]
    let shown = shown
    for (index, (store, isWithCache)) in shown.enumerated() {
      let facts = store.facts + (isWithCache ? ["cache alike"] : [])
      let users =
        store.users.isEmpty ? [Row("nobody is mounted")] : store.users.map { Row(short($0)) }
      let rows = [Row(facts.joined(separator: ", "), isSmall: true)] + users
      let color = store.healthy ? "#dbe9f6" : "#f6d5d0"
      lines.append("    store\(index) [label=\(label(store.path, rows, color))];")
    }
    lines.append("  }")

    var edges: [String] = []
    var nodes: [String: [Row]] = [:]
    var order: [String] = []
    for (index, (store, _)) in shown.enumerated() {
      for view in store.namespaces {
        let name = view.namespace.shown
        if nodes[name] == nil { order.append(name) }
        nodes[name, default: []].append(
          Row("\(view.path): \(view.relation)", isSmall: true, port: "store\(index)"))
        nodes[name, default: []] +=
          view.arrived.map { Row(short($0)) }
          + view.missing.map { Row("\(short($0)) is missing", color: "#b03020") }
        let style =
          switch view.role {
          case "follows": "label=\"follows\""
          case "peer": "label=\"peer\", dir=both"
          default: "label=\"nothing arrives\", style=dashed, color=\"#b03020\", arrowhead=none"
          }
        let node = "namespace\(order.firstIndex(of: name) ?? 0)"
        edges.append("  store\(index):title:e -> \(node):store\(index):w [\(style)];")
      }
    }
    for (index, name) in order.enumerated() {
      lines.append("  namespace\(index) [label=\(label(name, nodes[name] ?? [], "#e4efdc"))];")
    }
    return (lines + edges + ["}", ""]).joined(separator: "\n")
  }

  private struct Row {
    let text: String
    var isSmall = false
    var color: String?
    /// What an edge leads to.
    var port: String?

    init(_ text: String, isSmall: Bool = false, color: String? = nil, port: String? = nil) {
      self.text = text
      self.isSmall = isSmall
      self.color = color
      self.port = port
    }
  }

  /// A hash is known by its beginning.
  private func short(_ user: String) -> String { "\(user.prefix(12))…" }

  /// A table, as Graphviz takes it in the place of HTML.
  private func label(_ title: String, _ rows: [Row], _ color: String) -> String {
    let cells = rows.map { row -> String in
      let attributes = [
        row.isSmall ? "point-size=\"9\"" : nil, row.color.map { "color=\"\($0)\"" },
      ].compactMap { $0 }
      let text = escaped(row.text)
      let font =
        attributes.isEmpty ? text : "<font \(attributes.joined(separator: " "))>\(text)</font>"
      let port = row.port.map { " port=\"\($0)\"" } ?? ""
      return "<tr><td align=\"left\"\(port)>\(font)</td></tr>"
    }
    return "<<table border=\"1\" cellborder=\"0\" cellspacing=\"0\" cellpadding=\"3\" "
      + "color=\"gray50\"><tr><td port=\"title\" bgcolor=\"\(color)\"><b>\(escaped(title))</b></td></tr>"
      + cells.joined() + "</table>>"
  }

  /// The name of a program may be anything.
  private func escaped(_ text: String) -> String {
    let entities: [Character: String] = ["&": "&amp;", "<": "&lt;", ">": "&gt;", "\"": "&quot;"]
    return oneLine(text).map { entities[$0] ?? String($0) }.joined()
  }
}

enum Graphviz {
  /// The picture that `dot` makes of it.
  static func draw(_ text: String) throws -> String {
    let file = Descriptor(owning: try check("memfd_create", nil, linux_memory_file("picture")))
    try file.write(Array(text.utf8), shown: "picture")
    try check("lseek", "picture", lseek(file.number, 0, SEEK_SET))
    let picture = try Pipe()
    guard let drawer = try fork() else {
      dup2(file.number, STDIN_FILENO)
      dup2(picture.writing.number, STDOUT_FILENO)
      do {
        try Program.become(["dot", "-Tsvg"], setting: [])
      } catch {
        _exit(error.code == ENOENT ? 127 : 126)
      }
    }
    let bytes = try picture.intoReading().read(atMost: .max, shown: "picture") ?? []
    switch try wait(for: drawer).end {
    case .exited(0): return String(decoding: bytes, as: UTF8.self)
    case .exited(127):
      throw Failure(
        "dot: there is no such program; install graphviz, or use --format dot and draw it elsewhere"
      )
    case let end: throw Failure("dot: cannot draw the picture (\(end))")
    }
  }
}
