import ArgumentParser
import NormaRecords
import NormaReport

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Look for known troubles in a finished, failed or interrupted run, with evidence and remedy.",
    discussion: "Runs of norma compare and norma train with --diagnose show more.")

  @Argument(help: ArgumentHelp("Output folder of norma compare or norma train, or its results.json.", valueName: "run"))
  var folder: String

  @Flag(help: "Print the findings as JSON instead of text.")
  var json = false

  func validate() throws {
    if folder.isEmpty { throw ValidationError("give the folder of a run, got an empty text.") }
  }

  func run() throws {
    let report = try ResultsFile.read(folder.hasSuffix(".json") ? folder : "\(folder)/results.json").examined()
    print(json ? try jsonText(of: report) : report.text)
  }
}
