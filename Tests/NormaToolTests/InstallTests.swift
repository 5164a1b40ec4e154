import Foundation
import TestSupport
import Testing

/// `make install` and `make uninstall`, by their script.
@Suite struct InstallTests {
  let folder: TemporaryFolder
  private let script: URL

  init() throws {
    folder = try TemporaryFolder()
    script = FuzzTests.package.appendingPathComponent("Scripts/install")
  }

  private func install(_ arguments: [String] = [], prefix: String, destination: String = "") throws -> Tool.Outcome {
    try Tool.run(
      arguments,
      environment: [
        "PREFIX": prefix, "DESTDIR": destination, "NORMA_BINARY": Tool.path.path, "SOURCE_DATE_EPOCH": "0",
      ],
      executable: script)
  }

  private func shell(_ text: String) throws -> Tool.Outcome {
    try Tool.run(["-c", text], executable: URL(fileURLWithPath: "/bin/bash"))
  }

  @Test func anInstalledCopyRunsCompletesAndGoes() throws {
    let prefix = folder.path("a folder")
    let outcome = try install(prefix: prefix)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.errors.contains("it needs libtorch in /"))

    let norma = URL(fileURLWithPath: prefix + "/bin/norma")
    let version = try Tool.run(["--version"], in: folder.url, executable: norma)
    #expect(version.status == 0)
    #expect(try version.output == Tool.run(["--version"]).output)
    let info = try Tool.run(["info"], in: folder.url, executable: norma)
    #expect(info.status == 0 && info.output.contains("libtorch"), "\(info.errors)")
    #if os(Linux)
      // Not the one of the checkout, which may go.
      let libraries = try shell("ldd '\(prefix)/lib/norma/norma'").output
      #expect(
        libraries.contains("libtorch_cpu.so => \(prefix)/lib/norma/.libtorch/lib/libtorch_cpu.so"), "\(libraries)")
    #endif

    let completion = try shell(
      """
      PATH="\(prefix)/bin:$PATH"; . "\(prefix)/share/bash-completion/completions/norma"
      function=$(complete -p norma | sed 's/.*-F \\([^ ]*\\).*/\\1/')
      COMP_WORDS=(norma com) COMP_CWORD=1 COMP_LINE='norma com' COMP_POINT=9
      $function norma com norma; echo "${COMPREPLY[@]}"
      """)
    #expect(completion.output.contains("compare"), "\(completion.output)\(completion.errors)")
    for file in ["zsh/site-functions/_norma", "fish/vendor_completions.d/norma.fish"] {
      #expect(try String(contentsOfFile: "\(prefix)/share/\(file)", encoding: .utf8).contains("compare"))
    }
    if Python.imports("json") {
      let page = try String(contentsOfFile: prefix + "/share/man/man1/norma-compare.1", encoding: .utf8)
      // A group of options, and an option with its default.
      #expect(page.hasPrefix(#".TH "NORMA\-COMPARE" 1 "1970-01-01" "norma \#(version.output.dropLast())""#))
      #expect(page.contains(".SH DATA\n") && page.contains("\\fB\\-\\-val\\-slices\\fR \\fIcount\\fR\nSlices"))
      #expect(page.contains("before the test slices. (default: 4)\n"))
      #expect(page.utf8.allSatisfy { $0 < 128 })
    }

    #expect(try install(["uninstall"], prefix: prefix).status == 0)
    let rest = FileManager.default.enumerator(atPath: prefix)?.compactMap { $0 as? String } ?? []
    #expect(!rest.contains { $0.contains("norma") }, "\(rest)")
  }

  @Test func packagesAreStagedWithPathsOfTheirOwn() throws {
    let stage = folder.path("stage")
    #expect(try install(prefix: "/opt/norma", destination: stage).status == 0)
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: stage + "/opt/norma/bin/norma") == "../lib/norma/norma")
    let relative = try install(prefix: "somewhere")
    #expect(relative.status == 1 && relative.errors.contains("PREFIX must be an absolute path"))
    let file = folder.path("file")
    try Data().write(to: URL(fileURLWithPath: file))
    let refused = try install(prefix: file)
    #expect(refused.status == 1 && refused.errors.contains("choose another PREFIX"))
  }
}
