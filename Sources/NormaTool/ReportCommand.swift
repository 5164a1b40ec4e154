import ArgumentParser
import NormaReport

/// Uses no engine: the records are enough.
struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Make the page of a run again from its records, or one page of several runs.",
    discussion: """
      Several runs are taken together when they differ in norms, seeds, batch sizes and learning rates alone; the analysis \
      is made anew. A training that two of them have finished is an error.
      """)

  @Argument(
    help: ArgumentHelp("Folders of runs of norma compare or norma train, or their results.json.", valueName: "run"),
    completion: .directory)
  var runs: [String]

  @Option(
    help: ArgumentHelp(
      "The page. (default: report.html in the folder of a single run, else in the current folder)", valueName: "file"))
  var output: String?

  @Option(help: ArgumentHelp("Also write every chart as SVG into this folder.", valueName: "folder"))
  var charts: String?

  func validate() throws {
    if let output, !output.hasSuffix(".html"), !output.hasSuffix(".htm") {
      throw ValidationError("--output must name a file that ends in .html, got '\(output)'.")
    }
    if charts?.isEmpty == true { throw ValidationError("--charts must name a folder, got an empty text.") }
  }

  func run() throws {
    let report = try Report(reading: runs)
    let page = output ?? (runs.count == 1 ? "\(Report.folder(of: runs[0]))/report.html" : "report.html")
    try report.write(page: page, charts: charts)
    print("Report: \(page)" + (charts.map { "\nCharts: \($0)" } ?? ""))
  }
}
