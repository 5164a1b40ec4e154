import Foundation
import NormaFormats
import NormaRecords
import TestSupport
import Testing

@testable import NormaReport

/// How many numbers a page has, which are all to be those of the record.
private func countNumbers(of html: String, checkedBy record: ComparisonRecord) throws -> Int {
  let numbers = try pageNumbers(html, json: Data(ResultsFile.text(record).utf8))
  #expect(numbers.strangers.isEmpty, "\(numbers.strangers)")
  return numbers.count
}

/// Two norms, two batch sizes, a few seeds; one norm mixes.
private func grid(_ norms: [String] = ["batch", "switchable"], seeds: Range<UInt64> = 0..<3) -> ComparisonRecord {
  var runs: [RunRecord] = []
  for norm in norms {
    for batchSize in [1, 3] {
      for seed in seeds {
        let shift = Double(seed) / 7 + (norm == "batch" ? 0.01 : 0)
        var one = run(
          norm, [epoch(1, validationLoss: 0.5 + shift), epoch(2, validationLoss: 0.3 + shift)], batchSize: batchSize,
          seed: seed, scores: [.iou: 0.6 + shift / 3, .accuracy: 0.8, .randError: 0.1 + shift / 9])
        one.fileStem = "\(norm)-batch\(batchSize)-seed\(seed)"
        if norm == "switchable" {
          let mix = MixRecord(layer: "n1", branches: ["instance", "batch"], mean: [0.25, 0.75], variance: [0.5, 0.5])
          one.mixes = [[mix], [mix]]
        }
        runs.append(one)
      }
    }
  }
  var record = comparison(runs)
  record.configuration = [
    "norms": norms.joined(separator: ","), "seeds": "\(seeds.count)", "seed": "\(seeds.lowerBound)",
    "batch-size": "1,3",
    "learning-rate": "0.001", "crop": "32",
  ]
  record.analysis = record.analyzed()
  return record
}

@Suite struct ReportPageTests {
  @Test func numbersAreThoseOfTheRecord() throws {
    let record = grid()
    let report = try Report([("none", record)])
    #expect(report.record == record)
    // 2 norms at 2 batch sizes with rate, 6 numbers of scores, 2 each of loss, time and epochs, memory; targets, pairs, runs.
    #expect(try countNumbers(of: report.html, checkedBy: record) == 2 * (2 * (2 + 6 + 6) + 1 + 4) + 12 * 2)
    for analysis in record.analysis { #expect(report.html.contains(escaped(analysis.verdict))) }
    #expect(report.html.contains("× batch"))
  }

  @Test func numbersThatAreNone() throws {
    var record = comparison([run("none", [epoch(1, validationLoss: .infinity)], scores: [.iou: .nan])])
    record.analysis = record.analyzed()
    let html = try Report([("none", record)]).html
    #expect(try countNumbers(of: html, checkedBy: record) > 3)
    #expect(html.contains("data-value=\"nan\""))
  }

  @Test func thePageIsWellFormedAndInOrder() throws {
    let html = try Report([("none", grid())]).html
    let names = try #require(elements(of: html))
    #expect(names.count { $0 == "h1" } == 1 && names.count { $0 == "main" } == 1)
    #expect(!names.contains("script"))
    var level = 0
    for name in names {
      guard name.count == 2, name.first == "h", let next = Int(name.dropFirst()) else { continue }
      #expect(next <= level + 1, "no heading is passed over")
      level = next
    }
    let ids = html.matches(of: /\bid="([^"]*)"/).map { $0.1 }
    #expect(Set(ids).count == ids.count)
    for link in html.matches(of: /href="#([^"]*)"/) { #expect(ids.contains(link.1)) }
    for reference in html.matches(of: /aria-labelledby="([^"]*)"/) {
      for id in reference.1.split(separator: " ") { #expect(ids.contains(id)) }
    }
    let places = ["verdict", "results", "curves", "batch-sizes", "cost", "shares", "reproduce", "limits"].map {
      html.range(of: "<section id=\"\($0)\"")!.lowerBound
    }
    #expect(places == places.sorted())
    #expect(!html.contains("http://") && !html.contains("https://"), "nothing from a network")
    #expect(html.count(of: "class=\"scroll\" tabindex=\"0\"") >= html.count(of: "<table"))
  }

  @Test func hostileNamesStayText() throws {
    let evil = "</style><script>alert('1')</script>\u{0}"
    var record = comparison([run(evil, seed: 0), run("batch\"&", seed: 0)])
    record.data.name = evil
    record.environment.processor = evil
    record.runs[0].failure = evil
    record.runs[0].mixes = [[MixRecord(layer: evil, branches: [evil], mean: [1], variance: [1])]]
    let report = try Report([("none", record)])
    #expect(!report.html.contains("<script"))
    #expect(elements(of: report.html) != nil)
    for chart in report.charts {
      #expect(elements(of: chart.svg) != nil, "\(chart.name)")
      #expect(!chart.name.contains("/"))
    }
  }

  @Test func chartsAreOneForEachQuestion() throws {
    let charts = try Report([("none", grid())]).charts
    let perBatchSize = [
      "score", "validation-loss", "validation-accuracy", "training-loss", "step", "memory", "shares-switchable",
    ]
    #expect(
      Set(charts.map(\.name))
        == Set([1, 3].flatMap { size in perBatchSize.map { "\($0)-batch\(size)" } } + ["batch-sizes"]))
    #expect(charts.count == 15)
    // Means and bands over the seeds: 0.31, 0.31 + 1/7, 0.31 + 2/7.
    guard case .lines(let plot) = charts.first(where: { $0.name == "validation-loss-batch1" })?.plot else {
      Issue.record("no lines")
      return
    }
    let point = try #require(plot.series.first?.points.last)
    #expect(abs(point.y - (0.31 + 1 / 7.0)) < 1e-12)
    #expect(abs(point.low! - 0.31) < 1e-12 && abs(point.high! - (0.31 + 2 / 7.0)) < 1e-12)
  }

  @Test func limitsAreTold() throws {
    var record = grid()
    record.runs[0].failure = "the loss became nan"
    record.runs[1].collapsedToClass = 1
    let limits = try Report([("none", record)]).limits
    #expect(limits.contains { $0.contains("batch-batch1-seed0 failed: the loss became nan") })
    #expect(limits.contains { $0.contains("has collapsed: it predicts class 1") })
    #expect(limits.contains { $0.hasPrefix("Scores are of the slices that also chose the epochs") })
    #expect(limits.contains { $0.contains("synthetic") })
    record.data.testSamples = 2
    #expect(try !Report([("none", record)]).limits.contains { $0.hasPrefix("Scores are of the slices that also") })
    #expect(!limits.contains { $0.contains("step times") || $0.contains("not complete") })
    #expect(limits.contains { $0.hasPrefix("One learning rate was tried") })
    // Of 20, 20 and 40 milliseconds, a deviation of 11.5 at a mean of 26.7.
    record.runs[2].stepMilliseconds = [40]
    let unsteady = try Report([("none", record)]).limits.filter { $0.contains("step times") }
    #expect(unsteady.count == 1 && unsteady[0].hasPrefix("At batch size 1 the step times of batch differ"))
    record.runs.removeLast()
    #expect(try Report([("none", record)]).limits.contains { $0.hasPrefix("The grid is not complete, 1 training") })
    #expect(try Report([("none", record)]).html.contains("11 of 12 trainings finished"))
  }

  @Test func commands() {
    var record = grid()
    #expect(
      record.commandParts.joined(separator: " ")
        == "norma compare --norms batch,switchable --seeds 3 --batch-sizes 1,3 --crop 32 --learning-rate 0.001 --score iou --seed 0"
    )
    record.configuration = [
      "images": "it's here/a.tif", "labels": "b.tif", "norms": "switchable:instance+group(4)", "seeds": "1",
      "batch-size": "2",
      "learning-rate": "0.1,0.01", "border-weights": "true", "class-weights": "equal", "synthetic-size": "3",
    ]
    #expect(
      record.commandParts.joined(separator: " ")
        == "norma compare --images 'it'\\''s here/a.tif' --labels b.tif --norms 'switchable:instance+group(4)' --seeds 1 "
        + "--batch-size 2 --border-weights --class-weights equal --learning-rates 0.1,0.01 --score iou")
    record.configuration = ["border-weights": "false", "class-weights": "1.0,2.0"]
    #expect(record.commandParts == ["norma compare", "--class-weights 1.0,2.0", "--score iou"])
  }
}

@Suite struct MergedReportTests {
  @Test func runsOfOneExperimentAreOneGrid() throws {
    let report = try Report([("a", grid(["batch"])), ("b", grid(["switchable"])), ("c", grid(["batch"], seeds: 3..<5))])
    #expect(report.record.runs.count == 6 + 6 + 4)
    #expect(report.record.analysis == report.record.analyzed())
    #expect(report.record.analysis[0].contenders.map(\.norm) == ["batch", "switchable"])
    #expect(report.record.analysis[0].contenders[0].seeds == [0, 1, 2, 3, 4])
    #expect(report.record.analysis[0].pairs.count == 1)
    #expect(report.record.configuration["norms"] == "batch,switchable")
    #expect(report.record.configuration["seeds"] == "5")
    #expect(report.commands.count == 3)
    #expect(try countNumbers(of: report.html, checkedBy: report.record) > 40)
    #expect(!report.limits.contains { $0.contains("different machines") })
  }

  @Test func otherExperimentsAreRefused() throws {
    func refusal(_ change: (inout ComparisonRecord) -> Void) -> String {
      var other = grid(["layer"])
      change(&other)
      do {
        _ = try Report([("a", grid()), ("b", other)])
        return "none"
      } catch { return "\(error)" }
    }
    #expect(refusal { _ in } == "none")
    #expect(refusal { $0.configuration["learning-rate"] = "0.1" } == "none")
    #expect(
      refusal { $0.configuration["crop"] = "64" }.contains("'a' and 'b' are different experiments (--crop 32 and 64)"))
    #expect(refusal { $0.configuration["momentum"] = "0.9" }.contains("--momentum not given and 0.9"))
    #expect(refusal { $0.data.trainingSamples = 7 }.contains("cells, 7 + 4 + 0 slices of 96×64, 1 channel, 2 classes"))
    #expect(refusal { $0.score = .dice }.contains("--score iou and dice"))
    #expect(
      refusal { $0.runs = grid(["batch"]).runs }.contains(
        "both have the training of batch with batch size 1, learning rate 0.001 and seed 0"))
  }

  @Test func ofTwoTrainingsTheFinishedOneCounts() throws {
    var interrupted = grid(["batch"])
    interrupted.runs[0].isFinished = false
    interrupted.runs[0].history = []
    var rest = grid(["batch"])
    rest.runs = [rest.runs[0]]
    for order in [[("a", interrupted), ("b", rest)], [("b", rest), ("a", interrupted)]] {
      let merged = try Report(order).record
      #expect(merged.runs.count == 6)
      #expect(merged.runs.allSatisfy { $0.isFinished && $0.history.count == 2 })
    }
  }

  @Test func otherMachinesAreTold() throws {
    var other = grid(["layer"])
    other.environment.processor = "q"
    #expect(
      try Report([("a", grid()), ("b", other)]).limits.contains { $0.contains("different machines or versions") })
  }

  @Test func folders() {
    #expect(Report.folder(of: "runs/a") == "runs/a")
    #expect(Report.folder(of: "runs/a//") == "runs/a")
    #expect(Report.folder(of: "runs/a/results.json") == "runs/a")
    #expect(Report.folder(of: "results.json") == ".")
    #expect(Report.folder(of: "/results.json") == "/" && Report.folder(of: "/") == "/")
  }
}

@Suite struct ReportPictureTests {
  @Test func overlaysAndWhereNormsAreWrong() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("norma-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try Folder.make("\(folder)/overlays")
    func write(_ norm: String, _ slice: Int, wrong: [Bool]) throws {
      let overlay = try Overlay.image(
        [0.5, 0.5, 0.5], truth: [1, 1, 1], prediction: wrong.map { $0 ? 0 : 1 }, ignored: 255, height: 1, width: 3)
      try PNG.write(overlay, to: "\(folder)/overlays/\(norm)-batch1-seed0-slice-\(slice).png")
    }
    for slice in [9, 10, 11] {
      try write("batch", slice, wrong: [false, true, true])
      try write("switchable", slice, wrong: [false, false, true])
    }
    let report = try Report([(folder, grid())])
    #expect(report.pictures.slices.map(\.number) == [9, 10], "the first two by number")
    let slice = report.pictures.slices[0]
    #expect(slice.overlays.map(\.norm) == ["batch", "switchable"])
    let path = "\(folder)/map.png"
    try Data(#require(slice.errors)).write(to: URL(fileURLWithPath: path))
    #expect(try PNG.read(path).values == [255, 128, 0], "right everywhere, wrong once, wrong everywhere")
    let html = report.html
    #expect(html.count(of: "src=\"data:image/png;base64,") == 6)
    #expect(html.count(of: " alt=\"Slice ") == 4)
    #expect(html.contains(Data(slice.overlays[0].png).base64EncodedString()))
  }
}

extension String {
  fileprivate func count(of text: String) -> Int { components(separatedBy: text).count - 1 }
}
