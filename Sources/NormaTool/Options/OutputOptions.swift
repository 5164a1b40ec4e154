import ArgumentParser

/// Where the results go.
struct OutputOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("Folder for the results; default: runs/COMMAND-DATE-TIME.", valueName: "folder"),
    completion: .directory)
  var output: String?

  @Flag(
    help: ArgumentHelp(
      "Replace an earlier run's results, report, charts, histories, event files, weights, predictions and overlays in the "
        + "output folder."))
  var overwrite = false

  func validate() throws {
    if output?.isEmpty == true { throw ValidationError("--output must name a folder, got an empty text.") }
  }

  @Flag(help: "Print the results as JSON instead of a table.")
  var json = false
}
