import Testing

@testable import DaemonStoreKernel

@Suite struct OverlayLayerTests {
  @Test(arguments: [
    ("rw,lowerdir=/a,upperdir=/b,workdir=/c,xino=off", ["/a", "/b", "/c"]),
    ("ro,lowerdir=/a:/b:/c", ["/a", "/b", "/c"]),
    ("ro,lowerdir=/a::/b", ["/a", "/b"]),
    (
      #"lowerdir=/with\:colon:/with\\slash,upperdir=/with\,comma"#,
      [
        "/with:colon", #"/with\slash"#, "/with,comma",
      ]
    ),
    ("lowerdir+=/a,lowerdir+=/b,datadir+=/c", ["/a", "/b", "/c"]),
    ("redirect_dir=/x,lowerdir", []), ("", []), (#"upperdir=\"#, [""]),
  ])
  func areRead(options: String, layers: [String]) {
    #expect(overlayLayers(Array(options.utf8)) == layers.map { "\($0)" })
  }

  @Test func comeFromTheTable() throws {
    let line =
      #"30 20 0:41 / /with\040blank ro - overlay o ro,lowerdir=/a\040b:/c,upperdir=/d"# + "\n"
    let table = try MountTable(parsing: Array(line.utf8), from: "text")
    #expect(table.mounts.map(\.layers) == [["/a b", "/c", "/d"]])
  }
}
