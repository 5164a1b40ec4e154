import ArgumentParser

/// Where the results go.
struct OutputOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Folder for the results; default: runs/COMMAND-DATE-TIME.", valueName: "folder"))
  var output: String?

  @Flag(help: "Replace the results of an earlier run in the output folder.")
  var overwrite = false

  @Flag(help: "Print the results as JSON instead of a table.")
  var json = false
}
