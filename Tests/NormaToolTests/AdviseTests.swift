import ArgumentParser
import Foundation
import TestSupport
import NormaModels
import Testing

@testable import NormaTool

@Suite struct AdviceTests {
  @Test func dependsOnBatchSizeAndTask() {
    for size in 1...7 {
      let advice = Advice(task: .segmentation, batchSize: size)
      #expect(advice.start.norm == "group:8" && advice.avoid.norm == "batch")
    }
    for task in [AdvisedTask.segmentation, .classification, .detection] {
      #expect(Advice(task: task, batchSize: 32).start.norm == "batch")
    }
    #expect(Advice(task: .classification, batchSize: 8).start.norm == "switchable")
    #expect(Advice(task: .classification, batchSize: 256).alternative.norm == "batch:ghost=32")
    for size in [1, 4, 64] {
      #expect(Advice(task: .styleTransfer, batchSize: size).start.norm == "instance")
      #expect(Advice(task: .sequence, batchSize: size).start.norm == "layer")
      #expect(Advice(task: .generation, batchSize: size).start.norm == "group:8")
    }
    // With one sample the batch branch is the instance branch.
    #expect(Advice(task: .classification, batchSize: 1).alternative.norm == "switchable:instance+layer")
  }

  @Test(arguments: AdvisedTask.allCases) func isConsistentAndSupported(_ task: AdvisedTask) throws {
    for size in [1, 2, 7, 8, 15, 16, 127, 128, 65_536] {
      let advice = Advice(task: task, batchSize: size)
      #expect(Set([advice.start.norm, advice.alternative.norm, advice.avoid.norm]).count == 3)
      #expect(!advice.evidence.isEmpty)
      let record = AdviceRecord(advice, nil)
      let command = try #require(record.command)
      let parsed = try #require(try Norma.parseAsRoot(command) as? CompareCommand)
      let norms = try #require(parsed.norms)
      #expect(norms.map(\.name) == advice.normsToCompare)
      #expect(parsed.training.batchSize == size)
      switch task {
      case .classification: #expect(parsed.model == .alexnet && parsed.data.images != nil)
      case .styleTransfer: #expect(parsed.model == .style && parsed.data.content != nil)
      default: #expect(parsed.model == .unet && parsed.data.images != nil && parsed.data.labels != nil)
      }
      for norm in norms { try norm.check(channels: parsed.network.width ?? UNet.Options().width) }
      #expect(record.text.contains("norma " + command.joined(separator: " ")))
      let measured = advice.evidence.contains { $0.origin == .measured }
      #expect(measured == (task == .segmentation), "only segmentation was measured")
    }
  }

  @Test func everyEvidenceTellsItsSource() {
    #expect(Set(Evidence.all.map(\.id)).count == Evidence.all.count)
    for item in Evidence.all {
      #expect(!item.source.isEmpty && !item.conditions.isEmpty && !item.tasks.isEmpty)
      if item.origin == .measured { #expect(item.conditions.contains("EPYC")) }
    }
    let quality = Evidence.all.first { $0.id == "isbi-2012" }
    #expect(quality?.conditions.contains("One seed") == true)
  }

  @Test func measuredFiguresAreThoseInTheRepository() throws {
    var root = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { root.deleteLastPathComponent() }
    let readme = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
    for row in ["| batch |", "| group |", "| switchable |"] {
      let line = try #require(readme.split(separator: "\n").first { $0.hasPrefix(row) && $0.contains("MiB") })
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      let statement = try #require(Evidence.all.first { $0.id == "isbi-2012" }).statement
      #expect(statement.contains(try #require(cells[5].split(separator: " ").first)), "loss in \(line)")
      #expect(statement.contains(cells[6]), "accuracy in \(line)")
    }
    let grid = try #require(Evidence.all.first { $0.id == "isbi-2012-grid" }).statement
    let findings = try String(contentsOf: root.appendingPathComponent("Documentation/Findings.md"), encoding: .utf8)
    for norm in ["none", "batch", "group", "switchable", "switchable:instance+layer", "instance", "layer"] {
      let line = try #require(findings.split(separator: "\n").first { $0.hasPrefix("| \(norm) |") })
      let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      for cell in [cells[1], cells[4]] {
        #expect(grid.contains("\(norm) \(cell.prefix(4))"), "\(norm): \(cell)")
      }
    }
    let results = try String(
      contentsOf: root.appendingPathComponent("Benchmarks/results/2026-11-21-epyc-2-cores.md"), encoding: .utf8)
    func row(_ section: String, _ norm: String) throws -> [Substring] {
      let part = try #require(results.range(of: section))
      return try #require(
        results[part.upperBound...].split(separator: "\n").first { $0.hasPrefix("| \(norm) |") }
      ).split(separator: "|")
    }
    // The milliseconds of every norm stand in the statement, in the order in which it names them.
    let times = try #require(Evidence.all.first { $0.id == "step-times" }).statement
    let order = ["batch", "group", "instance", "switchable", "layer", "none"]
    var numbers = times.split { !$0.isNumber }.map(String.init).filter { $0 != "32" && $0 != "16" }[...]
    for section in ["## U-Net step, float32", "## U-Net step, bfloat16"] {
      for norm in order {
        let median = try #require(Double(try row(section, norm)[1].split(separator: " ")[0]))
        #expect(numbers.popFirst() == "\(Int(median.rounded()))", "\(norm) in \(section)")
      }
    }
    let memory = try #require(Evidence.all.first { $0.id == "step-memory" }).statement
    for (row, figure) in [
      ("| batch | float32 | 470 |", "470 MiB"), ("| none | float32 | 363 |", "363"),
      ("| batch | bfloat16 | 317 |", "317 MiB"),
      ("295 MiB of live", "295 MiB"), ("1.06 and 1.09 times", "1.06 to 1.09"),
    ] {
      #expect(results.contains(row) && memory.contains(figure), "\(figure)")
    }
  }
}

@Suite struct MemoryEstimateTests {
  /// Peaks in MiB that `norma bench step` reported: width, size, batch size, whether normalized, memory, float32, bfloat16.
  static let measured: [(Int, Int, Int, Bool, TrainingCommandOptions.MemoryUse, Double, Double)] = [
    (32, 256, 2, true, .standard, 470.3, 314.9),
    (32, 256, 2, false, .standard, 362.8, 267.0),
    (32, 256, 2, true, .low, 294.8, 233.4),
    (16, 256, 1, true, .standard, 118.0, 84.8),
    (16, 256, 1, false, .standard, 91.1, 73.5),
    (16, 256, 1, true, .low, 74.1, 65.6),
    (64, 256, 1, true, .standard, 751.6, 645.4),
    (64, 256, 1, false, .standard, 661.2, 592.7),
    (64, 64, 1, true, .standard, 497.9, 505.0),
    (64, 64, 1, false, .standard, 493.9, 502.9),
    (64, 64, 1, true, .low, 493.0, 502.0),
    (16, 512, 2, true, .standard, 779.0, 456.7),
    (16, 512, 2, false, .standard, 562.4, 348.9),
    (8, 256, 8, true, .standard, 390.8, 215.2),
    (8, 256, 8, false, .standard, 280.3, 153.9),
    (24, 256, 2, true, .standard, 338.2, 223.7),
    (24, 256, 2, false, .standard, 257.6, 188.8),
  ]

  @Test func agreesWithMeasuredSteps() {
    for (width, size, batchSize, isNormalized, memory, float32, bfloat16) in Self.measured {
      var estimate = MemoryEstimate(
        width: width, size: size, batchSize: batchSize, isNormalized: isNormalized, memory: memory)
      let single = estimate.peakBytes / 1_048_576 / float32
      estimate.dtype = .bfloat16
      let half = estimate.peakBytes / 1_048_576 / bfloat16
      #expect((0.96...1.04).contains(single), "\(width) \(size) \(batchSize) \(isNormalized) \(memory): \(single)")
      #expect((0.85...1.15).contains(half), "\(width) \(size) \(batchSize) \(isNormalized) \(memory): \(half)")
    }
  }

  @Test(arguments: ["standard", "low"]) func agreesWithAStepOfThisMachine(_ memory: String) throws {
    let outcome = try Tool.run([
      "bench", "step", "--norms", "group", "--dtypes", "float32", "--width", "8", "--size", "96", "--batch-size", "4",
      "--steps",
      "1", "--warm-up", "1", "--memory", memory, "--json",
    ])
    #expect(outcome.status == 0, "\(outcome.errors)")
    let report = try JSONDecoder().decode(PrintedBenchmark.self, from: Data(outcome.output.utf8))
    let estimate = MemoryEstimate(
      width: 8, size: 96, batchSize: 4, memory: try #require(TrainingCommandOptions.MemoryUse(rawValue: memory)))
    let ratio = estimate.peakBytes / Double(try #require(report.cases[0].peakTensorBytes))
    // Within what the documentation claims for float32.
    #expect((0.94...1.06).contains(ratio), "\(ratio)")
  }

  @Test func amounts() throws {
    #expect(try MemoryAmount(parsing: "8GB").bytes == 8e9)
    #expect(try MemoryAmount(parsing: "512MiB").bytes == 512 * 1_048_576)
    #expect(try MemoryAmount(parsing: "1.5g").bytes == 1.5e9)
    for text in ["8", "GB", "-1GB", "0GB", "nanGB", "8 apples", "1e300GB", ""] {
      #expect(throws: ValidationError.self) { try MemoryAmount(parsing: text) }
    }
  }

  @Test func planMarksWhatFits() throws {
    let plan = MemoryPlan(size: 512, batchSize: 2, limit: try MemoryAmount(parsing: "2GiB"))
    #expect(plan.rows.count == MemoryPlan.widths.count * MemoryPlan.kinds.count)
    for row in plan.rows { #expect(row.fits == (row.processBytes <= 2 * 1_073_741_824)) }
    #expect(plan.rows.contains { $0.fits == true } && plan.rows.contains { $0.fits == false })
    #expect(plan.choice?.width == 16)

    let tight = MemoryPlan(size: 512, batchSize: 2, limit: try MemoryAmount(parsing: "600MiB"))
    #expect(tight.choice?.width == 8 && tight.choice?.dtype == "bfloat16" && tight.choice?.memory == "low")
    let command = try #require(AdviceRecord(Advice(task: .segmentation, batchSize: 2), tight).command)
    let parsed = try #require(try Norma.parseAsRoot(command) as? CompareCommand)
    #expect(parsed.training.dtype == .bfloat16 && parsed.training.memory == .low && parsed.network.width == 8)

    let none = MemoryPlan(size: 512, batchSize: 2, limit: try MemoryAmount(parsing: "400MiB"))
    let crop = try #require(none.largestCrop)
    #expect(none.choice == nil && crop < 512 && crop % 16 == 0)
    let smaller = MemoryPlan(size: crop, batchSize: 2, limit: try MemoryAmount(parsing: "400MiB"))
    #expect(smaller.rows.contains { $0.fits == true }, "what is proposed fits")
    let hopeless = MemoryPlan(size: 512, batchSize: 2, limit: try MemoryAmount(parsing: "100MB"))
    #expect(AdviceRecord(Advice(task: .segmentation, batchSize: 2), hopeless).command == nil)
  }
}

@Suite struct AdviseCommandTests {
  @Test func printsTextAndJSON() throws {
    let text = try Tool.run([
      "advise", "--batch-size", "2", "--task", "segmentation", "--size", "256", "--memory", "8GB",
    ])
    #expect(text.status == 0 && text.errors.isEmpty, "\(text.errors)")
    for part in ["start with", "group", "--crop 256", "One seed", "bfloat16 low", "✓"] {
      #expect(text.output.contains(part), "\(text.output)")
    }
    let outcome = try Tool.run(["advise", "--batch-size", "2", "--task", "segmentation", "--json"])
    let record = try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
    #expect(record["schemaVersion"] as? Int == 1)
    #expect((record["start"] as? [String: String])?["norm"] == "group:8")
    #expect(record["memory"] == nil)
    let command = try #require(record["command"] as? [String])
    // The files are not there, and nothing else is wrong.
    let folder = try TemporaryFolder()
    let check = try Tool.run(command, in: folder.url)
    #expect(check.status != 0 && check.errors.contains("images.tif"), "\(check.errors)")
  }

  @Test(arguments: [
    ["--batch-size", "0", "--task", "segmentation"], ["--batch-size", "2", "--task", "cooking"],
    ["--task", "segmentation"],
    ["--batch-size", "2", "--task", "segmentation", "--size", "100"],
    ["--batch-size", "2", "--task", "segmentation", "--memory", "8"],
    ["--batch-size", "9223372036854775808", "--task", "segmentation"],
  ]) func badInputIsNamedOnce(_ arguments: [String]) throws {
    let outcome = try Tool.run(["advise"] + arguments)
    #expect(outcome.status != 0 && outcome.output.isEmpty)
    #expect(outcome.errors.split(separator: "\n").filter { $0.hasPrefix("Error:") }.count == 1, "\(outcome.errors)")
  }
}
