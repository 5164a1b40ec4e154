import Foundation
import TestSupport
import Testing

/// The readers of files that come from elsewhere, fed with broken ones by norma-fuzz.
@Suite struct FuzzTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  static let package = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  private func fuzz(_ arguments: [String]) throws -> Tool.Outcome {
    try Tool.run(
      arguments, in: Self.package,
      executable: Tool.path.deletingLastPathComponent().appendingPathComponent("norma-fuzz"))
  }

  @Test func brokenFilesEndInErrorsThatAreNamed() throws {
    let outcome = try fuzz(["run", "--count", "1000", "--findings", folder.path("findings")])
    #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    // Some are good still, and others are refused for many reasons: the inputs get past the first check.
    for name in try FileManager.default.contentsOfDirectory(atPath: Self.package.path + "/Tests/Corpus") {
      let line = try #require(outcome.output.split(separator: "\n").first { $0.hasPrefix("\(name): 1000 inputs") })
      let numbers = line.split(separator: " ").compactMap { Int($0) }
      // Of simple formats there is less to say.
      let kinds = ["cifar": 2, "csv": 5][name] ?? 11
      #expect(numbers[1] > 10 && numbers[2] > 100 && numbers[3] >= kinds && numbers[4] == 0, "\(line)")
    }
  }

  /// A target that does what readers must not.
  @Test func everyKindOfFindingIsFoundAndReplayed() throws {
    let seeds = folder.url.appendingPathComponent("corpus/planted")
    try FileManager.default.createDirectory(at: seeds, withIntermediateDirectories: true)
    for kind in ["crash", "hang", "memory", "unnamed"] {
      try Data((kind + ", or not").utf8).write(to: seeds.appendingPathComponent(kind))
    }
    let limits = ["--seconds", "1", "--memory", "100"]
    let outcome = try fuzz(
      ["run", "planted", "--count", "16", "--corpus", folder.path("corpus"), "--findings", folder.path("findings")]
        + limits)
    #expect(outcome.status == 1)
    let findings = folder.url.appendingPathComponent("findings")
    let names = try FileManager.default.contentsOfDirectory(atPath: findings.path).sorted()
    for (kind, words) in [
      ("crash", "crashes (signal "), ("hang", "takes too long"), ("memory", "takes too much memory"),
      ("unnamed", "ends in an error that is not the reader's own: CancellationError"),
    ] {
      let name = try #require(names.first { $0.hasPrefix("planted-\(kind)-1-") }, "\(outcome.output)")
      let again = try fuzz(["replay", findings.appendingPathComponent(name).path] + limits)
      #expect(again.status == 1 && again.output.contains(words), "\(again.output)\(again.errors)")
    }
  }
}
