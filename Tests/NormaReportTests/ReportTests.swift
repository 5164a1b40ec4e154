import Foundation
import NormaFormats
import NormaRecords
import NormaReport
import TestSupport
import Testing

@Suite struct RecordTests {
  @Test func medianAndBestEpoch() {
    #expect(run("a", steps: [10, 30, 20]).medianStepMilliseconds == 20)
    #expect(run("a", steps: [10, 40, 20, 30]).medianStepMilliseconds == 25)
    #expect(run("a", steps: []).medianStepMilliseconds == nil)
    let history = [
      epoch(1, validationLoss: .nan), epoch(2, validationLoss: 0.3), epoch(3, validationLoss: 0.2),
      epoch(4, validationLoss: 0.2),
    ]
    #expect(
      run("a", history).bestEpoch?.epoch == 3, "the first of equal ones, and never one that is not a number")
    #expect(run("a", [history[0]]).bestEpoch == nil)
    #expect(run("a", []).bestEpoch == nil)
    #expect(run("a", history).trainingSeconds == 40)
    #expect(run("a", [epoch(1, wait: 1), epoch(2, seconds: 6)]).dataWaitShare == 0.0625)
    #expect(run("a", []).dataWaitShare == nil)
  }
}

@Suite struct HistoryCSVTests {
  @Test func columnsAndRows() {
    let text = HistoryCSV.text([
      epoch(1, loss: 0.5, validationLoss: 0.25, seconds: 12.5),
      epoch(2, loss: .nan, validationLoss: .infinity),
    ])
    #expect(
      text == """
        epoch,acc,loss,val_acc,val_loss,seconds
        1,0.75,0.5,0.875,0.25,12.5
        2,0.75,nan,0.875,inf,10.0

        """)
    #expect(HistoryCSV.text([]) == "epoch,loss,val_loss,seconds\n")
  }
}

@Suite struct ResultsFileTests {
  @Test func roundTrip() throws {
    var full = run("switchable", [epoch(1), epoch(2, loss: 0.1)])
    full.peakProcessBytes = 1 << 33
    full.failure = "the loss became \"nan\"\n"
    full.collapsedToClass = 1
    full.mixes = [
      [
        MixRecord(
          layer: "encoder.0.conv1.norm", branches: ["instance", "layer", "batch"], mean: [0.25, 0.5, 0.25],
          variance: [1, 0, 0])
      ]
    ]
    let record = comparison([run("batch", []), full])
    let text = try ResultsFile.text(record)
    #expect(try ResultsFile.record(fromText: text) == record)
    #expect(text.hasSuffix("}\n"))
    #expect(text.contains("\"schemaVersion\" : 3"))
    // Sorted keys: the same record gives the same text.
    #expect(try ResultsFile.text(ResultsFile.record(fromText: text)) == text)
  }

  @Test func numbersThatJSONCannotHold() throws {
    let record = comparison([
      run("none", [epoch(1, loss: .nan, validationLoss: .infinity, validationAccuracy: -.infinity)])
    ])
    let text = try ResultsFile.text(record)
    #expect(text.contains("\"loss\" : \"nan\""))
    #expect(text.contains("\"validationLoss\" : \"inf\""))
    let back = try ResultsFile.record(fromText: text).runs[0].history[0]
    #expect(back.loss.isNaN)
    #expect(back.validationLoss == .infinity)
    #expect(back.validationScores["accuracy"] == -.infinity)
    #expect(back.scores["accuracy"] == 0.75)
  }

  @Test func readsVersion2() throws {
    let folder = try TemporaryFolder()
    let record = comparison([run("batch", [epoch(1), epoch(2)])])
    // What version 3 changed, by hand.
    var text = try ResultsFile.text(record)
    for (new, old) in [
      (#""schemaVersion" : 3"#, #""schemaVersion" : 2"#), ("trainingSamples", "trainingSlices"),
      ("validationSamples", "validationSlices"), ("testSamples", "testSlices"),
    ] {
      #expect(text.contains(new))
      text = text.replacing(new, with: old)
    }
    for (name, old) in [
      ("constantScores", "constantAccuracy"), ("validationScores", "validationAccuracy"), ("scores", "accuracy"),
    ] {
      text.replace(try Regex("\"\(name)\" : \\{\\s*\"accuracy\" : ([0-9.]+)\\s*\\}")) {
        "\"\(old)\" : \($0[1].substring!)"
      }
    }
    text = text.replacing("    \"unit\" : \"slices\",\n", with: "")
    #expect(!text.contains("Scores\"") && !text.contains("unit"))
    try Data(text.utf8).write(to: folder.url.appendingPathComponent("results.json"))
    var expected = record
    expected.configuration["model"] = "unet"
    #expect(try ResultsFile.read(folder.path("results.json")) == expected)
  }

  @Test func damagedText() throws {
    let text = try ResultsFile.text(comparison([]))
    #expect(throws: (any Error).self) { try ResultsFile.record(fromText: String(text.dropLast(10))) }
    #expect(throws: (any Error).self) {
      try ResultsFile.record(fromText: text.replacing("constantScores", with: "other"))
    }
  }
}

@Suite struct ComparisonTableTests {
  private func lines(_ record: ComparisonRecord) -> [Substring] {
    ComparisonTable.text(record).split(separator: "\n", omittingEmptySubsequences: false)
  }

  @Test func tellsWhoIsNoBetterThanAConstant() {
    // The constant's accuracy is 0.77514.
    func text(_ accuracy: Double, iou: Double = 0.1) -> String {
      ComparisonTable.text(comparison([run("a", scores: [.accuracy: accuracy, .iou: iou])]))
    }
    #expect(text(0.7).contains("a is no better than a constant prediction: accuracy 0.7000 against 0.7751."))
    #expect(text(0.77514).contains("no better"))
    #expect(!text(0.7752).contains("no better"))
    // Where one of several scores is better, it is better.
    var record = comparison([run("a", scores: [.mae: 0.3, .loss: 0.2])], score: .mae)
    record.data.constantScores = ["mae": 0.27, "loss": 0.1]
    #expect(ComparisonTable.text(record).contains("loss 0.2000 against 0.1000, MAE 0.3000 against 0.2700"))
    record.data.constantScores = ["mae": 0.27, "loss": 0.25]
    #expect(!ComparisonTable.text(record).contains("no better"))
  }

  private func columns(_ line: Substring) -> [String] {
    line.split(separator: "  ").map { String($0).trimmingSpaces }.filter { !$0.isEmpty }
  }

  @Test func rowsByHand() {
    let history = [epoch(1, validationLoss: 0.3, wait: 3.3), epoch(2, validationLoss: 0.21234, seconds: 56)]
    var switchable = run("switchable", history, steps: [30, 50])
    switchable.peakProcessBytes = 3 << 30
    let lines = lines(comparison([run("batch", history), switchable]))
    #expect(
      columns(lines[0]) == [
        "norm", "parameters", "time", "ms/step", "× batch", "data wait", "best val loss (epoch)", "last val acc",
        "peak tensors", "peak process",
      ])
    let batch = ["batch", "1,234,567", "1:06", "20.0", "1.00", "5.0 %", "0.2123 (2)", "0.8750", "412 MiB", "–"]
    #expect(columns(lines[2]) == batch)
    #expect(
      columns(lines[3]) == [
        "switchable", "1,234,567", "1:06", "40.0", "2.00", "5.0 %", "0.2123 (2)", "0.8750", "412 MiB", "3.0 GiB",
      ])
    #expect(Set(lines[0...3].map(\.count)).count == 1, "columns are aligned")
    let rest = lines[4...].joined(separator: "\n")
    #expect(rest.contains("cells, 20 slices for training, the last 4 for validation"))
    #expect(rest.contains("0.7751"))
    #expect(rest.contains("ranks nothing for certain"))
    #expect(!rest.contains("collapsed") && !rest.contains(" failed: "))
  }

  @Test func withoutBatchThereIsNothingToCompareWith() {
    let lines = lines(comparison([run("group")]))
    #expect(columns(lines[2])[4] == "–")
    #expect(!lines.joined().contains("ranks nothing"), "one norm is no comparison")
  }

  @Test func remarks() {
    var collapsed = run("batch")
    collapsed.collapsedToClass = 1
    var failed = run("none", [], steps: [])
    failed.failure = "the loss became nan in epoch 1"
    let lines = lines(comparison([collapsed, failed, run("group")]))
    #expect(lines.count { $0.hasPrefix("batch has collapsed: it predicts class 1") } == 1)
    #expect(lines.count { $0 == "none failed: the loss became nan in epoch 1" } == 1)
    #expect(lines.count { $0.contains("collapsed") } == 1)
    #expect(lines.count { $0.contains(" failed: ") } == 1)
    #expect(columns(lines[3]) == ["none", "1,234,567", "0:00", "–", "–", "–", "–", "–", "412 MiB", "–"])
  }
}

extension String {
  fileprivate var trimmingSpaces: String {
    String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}

@Suite struct OverlayTests {
  @Test func colours() throws {
    // Right; a higher class than is true; a lower one; ignored; right and beyond the grey range on either side.
    let image: [Float] = [0.5, 1, 0.2, 0.6, 1.5, -1]
    let truth: [UInt8] = [1, 0, 1, 255, 0, 1]
    let prediction: [UInt8] = [1, 1, 0, 0, 0, 1]
    let stack = try Overlay.image(
      image, truth: truth, prediction: prediction, ignored: 255, height: 2, width: 3)
    #expect(stack.pages == 1 && stack.channels == 3 && stack.height == 2 && stack.width == 3)
    #expect(stack.format == .uint8)
    func pixel(_ index: Int) -> [Float] { (0..<3).map { stack[0, $0, index / 3, index % 3] } }
    #expect(pixel(0) == [128, 128, 128])
    // Grey 255 darkened to 102, and red; grey 51 darkened to 20.4, and blue with some green.
    #expect(pixel(1) == [255, 102, 102])
    #expect(pixel(2) == [20, 80, 173])
    #expect(pixel(3) == [153, 153, 153])
    #expect(pixel(4) == [255, 255, 255])
    #expect(pixel(5) == [0, 0, 0])
  }

  @Test func threeClasses() throws {
    let stack = try Overlay.image(
      [0, 0, 0], truth: [2, 1, 0], prediction: [1, 2, 0], ignored: 255, height: 1, width: 3)
    #expect(stack.values == [0, 153, 0, 60, 0, 0, 153, 0, 0])
  }
}
