import Foundation
import NormaRecords
import NormaReport
import TestSupport
import Testing

/// Real runs, diagnosed and looked at.
@Suite struct DoctorCommandTests {
  @Test func aDiagnosedRunIsTheSameRunAndIsRead() throws {
    let folder = try TemporaryFolder()
    func compare(_ name: String, _ more: [String] = []) throws -> ComparisonRecord {
      let outcome = try Tool.run(
        [
          "compare", "--norms", "batch,switchable", "--width", "2", "--crop", "32", "--epochs", "2",
          "--samples-per-epoch", "3", "--dropout", "0.1", "--threads", "1", "--synthetic-size", "48",
          "--synthetic-slices", "4", "--val-slices", "2", more.contains("--resume") ? "--resume" : "--output",
          folder.path(name),
        ] + more.filter { $0 != "--resume" })
      #expect(outcome.status == 0, "\(outcome.errors)")
      return try ResultsFile.read(folder.path("\(name)/results.json"))
    }
    let (plain, diagnosed) = (try compare("plain"), try compare("diagnosed", ["--diagnose"]))
    #expect(plain.configuration["diagnose"] == "false" && diagnosed.configuration["diagnose"] == "true")
    for (plain, diagnosed) in zip(plain.runs, diagnosed.runs) {
      #expect(plain.diagnoses.isEmpty)
      #expect(diagnosed.diagnoses.map(\.epoch) == [1, 2])
      #expect(diagnosed.diagnoses.allSatisfy { $0.inputs.count == 22 && $0.seconds > 0 && $0.surface.loss > 0 })
      #expect(plain.history.map(\.loss) == diagnosed.history.map(\.loss))
      #expect(plain.history.map(\.validationLoss) == diagnosed.history.map(\.validationLoss))
      #expect(plain.scores == diagnosed.scores && plain.mixes == diagnosed.mixes)
      let weights = try ["plain", "diagnosed"].map {
        try Data(contentsOf: folder.url.appendingPathComponent("\($0)/weights-\(plain.fileStem).safetensors"))
      }
      #expect(weights[0] == weights[1])
    }

    let text = try Tool.run(["doctor", folder.path("diagnosed")])
    #expect(text.status == 0, "\(text.errors)")
    #expect(text.output.contains("batch statistics of one sample (batch)"))
    #expect(!text.output.contains("--diagnose"))
    let blind = try Tool.run(["doctor", folder.path("plain/results.json")])
    #expect(blind.output.contains("with --diagnose"))
    let json = try Tool.run(["doctor", folder.path("diagnosed"), "--json"])
    let report = try JSONDecoder().decode(DoctorReport.self, from: Data(json.output.utf8))
    #expect(report == diagnosed.examined())

    // The same results with and without, so one may go on with the other.
    let more = try compare("plain", ["--diagnose", "--resume", "--norms", "batch,switchable,none"])
    #expect(more.runs.map(\.diagnoses.count) == [0, 0, 2])
  }

  @Test func aDivergedRunIsExplained() throws {
    let folder = try TemporaryFolder()
    let outcome = try Tool.run([
      "train", "--norm", "none", "--optimizer", "sgd", "--learning-rate", "1e30", "--width", "2", "--crop", "32",
      "--epochs", "2", "--samples-per-epoch", "4", "--threads", "1", "--synthetic-size", "48", "--synthetic-slices",
      "4",
      "--val-slices", "2", "--diagnose", "--output", folder.path("run"),
    ])
    #expect(outcome.status == 1)
    let doctor = try Tool.run(["doctor", folder.path("run")])
    #expect(doctor.status == 0, "\(doctor.errors)")
    #expect(doctor.output.contains("serious: the training diverged (none)"))
    #expect(doctor.output.contains("the loss became"))
  }

  @Test func badInputIsNamedOnce() throws {
    let folder = try TemporaryFolder()
    try Data("{}".utf8).write(to: folder.url.appendingPathComponent("no.json"))
    try Data("{\"schemaVersion\": 99}".utf8).write(to: folder.url.appendingPathComponent("new.json"))
    try Data("{\"schemaVersion\": 2}".utf8).write(to: folder.url.appendingPathComponent("damaged.json"))
    for (arguments, says) in [
      ([folder.path("nothing")], "nothing/results.json"), ([folder.path("no.json")], "no results.json"),
      ([folder.path("new.json")], "version 99, expected 2"), ([folder.path("damaged.json")], "is damaged"),
      ([""], "empty text"), ([], "<run>"),
    ] {
      let outcome = try Tool.run(["doctor"] + arguments)
      #expect(outcome.status != 0 && outcome.output.isEmpty)
      #expect(outcome.errors.contains(says), "\(outcome.errors)")
      #expect(outcome.errors.components(separatedBy: "Error:").count == 2, "\(outcome.errors)")
    }
  }
}
