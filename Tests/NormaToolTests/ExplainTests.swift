import ArgumentParser
import Foundation
import NormaNormalization
import NormaReport
import TestSupport
import Testing

@testable import NormaTool

@Suite struct ExplainTests {
  typealias Cell = SharingPanel.Cell

  /// Whether two cells are averaged together, by what the norms are defined as.
  static func share(_ panel: String, _ a: Cell, _ b: Cell, channels: Int) -> Bool {
    func number(_ word: String) -> Int? {
      panel.hasPrefix(word + "(") ? Int(panel.dropFirst(word.count + 1).dropLast()) : nil
    }
    if let groups = number("group") {
      let size = channels / groups
      return a.sample == b.sample && a.channel / size == b.channel / size
    }
    if let size = number("ghost") { return a.channel == b.channel && a.sample / size == b.sample / size }
    switch panel {
    case "instance": return a.sample == b.sample && a.channel == b.channel
    case "batch": return a.channel == b.channel
    case "layer": return a.sample == b.sample
    case "unit": return a.sample == b.sample && a.line == b.line && a.column == b.column
    default: return false
    }
  }

  @Test(arguments: [
    ("batch", ["batch"]), ("batch:ghost=2", ["ghost(2)"]), ("layer", ["layer"]), ("instance", ["instance"]),
    ("group:2", ["group(2)"]), ("group:size=2", ["group(3)"]), ("group", ["group(6)"]),
    ("switchable", ["instance", "layer", "batch"]), ("switchable:instance+group(2)", ["instance", "group(2)"]),
    ("rms", ["layer"]), ("rms:3", ["group(3)"]), ("frn", ["instance"]), ("evo-s0:2", ["group(2)"]),
    ("evo-b0", ["batch", "instance"]), ("unit", ["unit"]),
  ]) func setsAreThoseOfTheDefinition(_ name: String, _ panels: [String]) throws {
    let shape = try BenchShape(parsing: "3x6x2x3")
    let found = try NormExplanation(name, shape: shape).panels
    #expect(found.map(\.title) == panels)
    for panel in found {
      let cells = panel.cells
      #expect(cells.count == shape.count, "all of a small block is drawn")
      for a in cells {
        for b in cells {
          let together = panel.set(of: a) == panel.set(of: b)
          #expect(together == Self.share(panel.title, a, b, channels: 6), "\(panel.title): \(a) \(b)")
        }
      }
      let sets = Dictionary(grouping: cells) { panel.set(of: $0) }
      let greatest = sets.values.map(\.count).max() ?? 0
      #expect(
        panel.caption.contains("\(sets.count) statistics over \(greatest) values each")
          // The last ghost batch is the smaller one.
          || panel.title == "ghost(2)" && panel.caption.contains("12 statistics over at most 12 values"),
        "\(panel.caption)")
    }
  }

  @Test func aWindowHoldsNeighbouringChannelsAtOnePosition() throws {
    let panel = try #require(try NormExplanation("lrn:size=3", shape: BenchShape(parsing: "2x6x2x2")).panels.first)
    let window = panel.cells.filter { panel.set(of: $0) != nil }
    #expect(window.map(\.channel) == [0, 1, 2])
    #expect(Set(window.map { [$0.sample, $0.line, $0.column] }).count == 1)
  }

  @Test func groupsAreThoseOfTheRealChannels() throws {
    let panel = try #require(try NormExplanation("group", shape: BenchShape(parsing: "1x64x4x4")).panels.first)
    #expect(panel.title == "group(32)" && Set(panel.sets).count == 32)
  }

  @Test func parametersAreTheLayers() throws {
    let shape = try BenchShape(parsing: "2x8x4x4")
    for kind in NormalizationKind.all {
      #expect(try NormExplanation(kind.name, shape: shape).parameters == kind.parameterCount(8), "\(kind.name)")
    }
    #expect(try NormExplanation("instance:plain", shape: shape).parameters == 0)
    #expect(try NormExplanation("switchable:instance+layer", shape: shape).parameters == 20)
  }

  @Test func passesDependOnTheCache() throws {
    // 64 planes of 256 bytes, and 64 of 64 MiB.
    let small = try NormExplanation("instance", shape: BenchShape(parsing: "1x64x8x8")).passes
    let large = try NormExplanation("instance", shape: BenchShape(parsing: "1x64x4096x4096")).passes
    // Wide machines have more threads than there are planes to hand out.
    if ProcessInfo.processInfo.activeProcessorCount <= 16 { #expect(small.short == "2T + 3T") }
    #expect(large.short == "3T + 5T")
    #expect(try NormExplanation("unit", shape: BenchShape(parsing: "1x64x8x8")).passes.isCounted == false)
  }

  @Test(arguments: ["group:8", "switchable:instance+group(2)", "batch"]) func tellsEverything(_ name: String) throws {
    let outcome = try Tool.run(["explain", name, "--shape", "2x8x3x3"])
    #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome.errors)")
    let parts = ["formula", "parameters", "passes", "state", "use when", "weakness", "source", "statistics over", "█"]
    for part in parts { #expect(outcome.output.contains(part), "\(part)") }
    #expect(!outcome.output.contains("\u{1B}"), "no colours in a file")
    #expect(outcome.output.contains("running_mean") == (name == "batch"))
  }

  @Test func drawsAllIntoAFolder() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run(["explain", "all", "--svg", folder.path("figures")])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let kinds = NormalizationKind.all.map(\.name)
    for name in kinds { #expect(outcome.output.contains(name)) }
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.path("figures")).sorted()
    #expect(files == (kinds + ["all"]).map { $0 + ".svg" }.sorted())
    for file in files {
      let svg = try String(contentsOfFile: folder.path("figures/\(file)"), encoding: .utf8)
      #expect(svg.hasPrefix("<?xml") && svg.hasSuffix("</svg>\n"))
    }
    let single = try Tool.run(["explain", "group:2", "--svg", "one.svg"], in: folder.url)
    #expect(single.status == 0 && folder.names.contains("one.svg"), "\(single.errors)")
  }

  @Test(arguments: [
    (["bach"], "unknown normalization 'bach'"), (["none"], "normalizes nothing"), (["group:3"], "3 groups"),
    (["batch", "--shape", "2x4"], "2x4x"), (["batch", "--shape", "65536x1024x1x1"], "2²⁰"),
    (["batch", "--svg", ""], "--svg"), (["batch", "--svg", "/nowhere/at/all.svg"], "/nowhere"),
    (["batch:ghots=2"], "ghost"),
  ]) func badInputIsNamedOnce(_ arguments: [String], _ says: String) throws {
    let outcome = try Tool.run(["explain"] + arguments)
    #expect(outcome.status != 0 && outcome.output.isEmpty)
    #expect(outcome.errors.contains(says), "\(outcome.errors)")
    #expect(outcome.errors.split(separator: "\n").filter { $0.hasPrefix("Error:") }.count == 1, "\(outcome.errors)")
  }
}
